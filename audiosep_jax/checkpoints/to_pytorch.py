"""Converts a checkpoint folder to a `.ckpt` that the PyTorch reference loads."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import ml_dtypes  # noqa: F401  registers the name bfloat16 with NumPy
import numpy as np

from audiosep_jax.checkpoints import folder, pytorch_constants, pytorch_names, torch_writer, tower_folder
from audiosep_jax.checkpoints.source import SEPARATOR_PREFIX, TOWER_PREFIX, CheckpointFolder, open_source
from audiosep_jax.checkpoints.targets import new_file
from audiosep_jax.errors import CheckpointError, listed
from audiosep_jax.utils import safetensors_file


def to_lightning(source: str | Path, target: str | Path, *, overwrite: bool = False) -> list[str]:
    """Writes a checkpoint folder as a Lightning-shaped `.ckpt`; returns lines that describe the file.

    An imported model is written as it was: names, order, types, shapes and values. For a model that was
    trained here, the reference's constants are computed, and its batch counters are zero.

    Raises:
      CheckpointError: the source is no checkpoint folder, or the reference has no such model.
      StorageError: the target cannot be written.
    """
    path = Path(source).expanduser()
    if path.exists() and not isinstance(open_source(source), CheckpointFolder):
        raise CheckpointError(
            f"{source} is not a checkpoint folder of audiosep_jax: only such a folder can be converted to "
            "PyTorch."
        )
    loaded = folder.load(path)
    separator = pytorch_names.to_pytorch(loaded.config.model, loaded.variables)
    clap, note = _tower(path, loaded.config.query.source)
    state_dict = _as_imported(path, separator, clap, window=loaded.config.model.window_length)
    origin = "as they were imported"
    if state_dict is None:
        origin = "with the constants of the reference computed"
        separator |= _unused(loaded.config.model.condition_size, separator)
        separator |= pytorch_constants.constants(loaded.config.model)
        names = [name for name in pytorch_constants.order() if name in separator]
        state_dict = {SEPARATOR_PREFIX + name: separator[name] for name in names}
        state_dict |= {TOWER_PREFIX + name: tensor for name, tensor in clap.items()}
    with new_file(target, overwrite=overwrite, sources=(path,)) as staging:
        torch_writer.write(staging, torch_writer.lightning_checkpoint(state_dict))
    numbers = sum(math.prod(tensor.shape) for tensor in state_dict.values())
    return [f"{target} holds {len(state_dict)} tensors with {numbers:,} numbers, {origin}.", *note]


def _as_imported(
    path: Path,
    weights: Mapping[str, np.ndarray],
    clap: Mapping[str, np.ndarray],
    *,
    window: int,
) -> dict[str, np.ndarray] | None:
    """Returns the state dict that the folder was converted from, or None if it was trained here."""
    file = path / folder.CARRIED_FILE
    if not file.is_file():
        return None
    carried = safetensors_file.TensorFile(file)
    metadata = carried.metadata
    order, dtypes = json.loads(metadata.get("state_dict", "[]")), json.loads(metadata.get("dtypes", "{}"))
    tensors = {SEPARATOR_PREFIX + name: tensor for name, tensor in {**weights, **carried}.items()}
    tensors |= {TOWER_PREFIX + name: tensor for name, tensor in clap.items()}
    if not clap:
        order = [name for name in order if not name.startswith(TOWER_PREFIX)]
    strange = [name for name in order if name not in tensors]
    strange += [SEPARATOR_PREFIX + name for name in weights if SEPARATOR_PREFIX + name not in set(order)]
    strange += [
        name
        for name, tensor in carried.items()
        if name in ("base.stft.conv_real.weight", "base.istft.ola_window") and tensor.shape[-1] != window
    ]
    if strange:
        raise CheckpointError(
            f"{file} belongs to another model than {folder.WEIGHTS_FILE}, see {listed(strange)}: "
            "delete it to have the constants computed."
        )
    # The tower may have been added with --tower to a separator without one.
    order += [name for name in tensors if name.startswith(TOWER_PREFIX) and name not in set(order)]
    return {
        name: tensors[name].astype(
            dtypes.get(name.removeprefix(SEPARATOR_PREFIX), tensors[name].dtype), copy=False
        )
        for name in order
    }


def _tower(path: Path, source: str) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Returns LAION's tensors of the checkpoint's tower, or none and a line that says why."""
    if source and (Path(source) / folder.CONFIG_FILE).is_file():
        tensors = tower_folder.laion_tensors(Path(source))
        if tensors is not None:
            return tensors, ()
    if not source:
        return {}, ("The checkpoint has no tower, so the file has none either.",)
    return {}, (f"The tower {source} is not written: the reference supports only LAION's CLAP.",)


def _unused(condition_size: int, separator: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns those of the 24 tensors that the reference declares and never uses which a model lacks."""
    tensors = {}
    for index in range(1, 7):
        width = separator[f"base.decoder_block{index}.bn1.weight"].shape
        for leaf, value in (("weight", 1), ("bias", 0), ("running_mean", 0), ("running_var", 1)):
            tensors[f"base.decoder_block{index}.bn2.{leaf}"] = np.full(width, value, np.float32)
        tensors[f"film.decoder_block{index}->beta2.weight"] = np.zeros((*width, condition_size), np.float32)
        tensors[f"film.decoder_block{index}->beta2.bias"] = np.zeros(width, np.float32)
    return {name: tensor for name, tensor in tensors.items() if name not in separator}
