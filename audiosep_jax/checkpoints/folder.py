"""A checkpoint folder: `config.json`, `model.safetensors` and a model card."""

import dataclasses
import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from audiosep_jax.checkpoints import file_kinds
from audiosep_jax.config import ExperimentConfig
from audiosep_jax.errors import CheckpointError, StorageError
from audiosep_jax.models import separator
from audiosep_jax.utils.serialization import load_json, to_dict

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
CARRIED_FILE = "carried.safetensors"  # tensors of PyTorch that this model does not use
PRESENCE_FILE = (
    "presence.json"  # what the level of an estimate says, read by audiosep_jax.separation.presence
)
TOWER_FOLDER = "tower"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A trained model.

    Attributes:
      config: the experiment that it came from.
      variables: "params" and "batch_stats", trees of float32 NumPy arrays.
    """

    config: ExperimentConfig
    variables: separator.Variables


def save(
    folder: str | Path,
    config: ExperimentConfig,
    variables: separator.Variables,
    *,
    kernel_dtype: str = "float32",
) -> None:
    """Writes a checkpoint folder; an older checkpoint there is replaced, other files in it stay.

    Args:
      folder: created where it does not exist.
      config: is stored whole.
      variables: "params" and "batch_stats".
      kernel_dtype: "float32", or "float16" to halve the file; biases, scales and statistics stay float32.

    Raises:
      AudioSepError: the folder cannot be written.
    """
    folder = Path(folder)
    tensors = {
        ".".join(path): np.ascontiguousarray(value, kernel_dtype if path[-1] == "kernel" else np.float32)
        for path, value in flatten_dict(dict(variables)).items()
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".writing-", dir=folder))
        try:
            save_file(tensors, staging / WEIGHTS_FILE, metadata={"format": "audiosep_jax"})
            text = json.dumps(to_dict(config), indent=2) + "\n"
            (staging / CONFIG_FILE).write_text(text, "utf-8")
            for name in (WEIGHTS_FILE, CONFIG_FILE):
                os.chmod(staging / name, 0o644)
                os.replace(staging / name, folder / name)
            (folder / PRESENCE_FILE).unlink(missing_ok=True)  # it was measured on the weights before
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        raise StorageError(f"checkpoint folder {folder} cannot be written: {error}.") from error


def load(folder: str | Path) -> Checkpoint:
    """Reads a checkpoint folder; a `query.source` inside the folder becomes the path to it.

    Raises:
      AudioSepError: the folder is something else, a file is missing or damaged, or tensors are missing,
        unknown or mis-shaped; all such tensors are named at once.
    """
    folder = Path(folder)
    _check_kind(folder)
    config = load_json(ExperimentConfig, folder / CONFIG_FILE, kind=CheckpointError)
    source = config.query.source
    if source and _inside(folder, folder / source):
        query = dataclasses.replace(config.query, source=str(folder / source))
        config = dataclasses.replace(config, query=query)
    weights = folder / WEIGHTS_FILE
    if not weights.is_file():
        raise CheckpointError(f"{folder} holds no {WEIGHTS_FILE}: it is not a whole checkpoint folder.")
    flat, problems = {}, []
    shapes = separator.flat_shapes(config.model)
    expected = {".".join(path): path for path in shapes}
    try:
        with safe_open(weights, framework="numpy") as tensors:
            names = set(tensors.keys())
            problems += [f"{name} is not part of this model" for name in sorted(names - set(expected))]
            for name, path in expected.items():
                if name not in names:
                    problems.append(f"{name} is missing")
                    continue
                value = tensors.get_tensor(name).astype(np.float32)
                if value.shape != shapes[path]:
                    problems.append(f"{name} has shape {value.shape}, needed is {shapes[path]}")
                flat[path] = value
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{weights} is damaged or not a safetensors file: {error}.") from error
    if problems:
        raise CheckpointError(f"{weights} does not fit its {CONFIG_FILE}: {'; '.join(problems)}.")
    return Checkpoint(config=config, variables=unflatten_dict(flat))


def _inside(folder: Path, path: Path) -> bool:
    return path.is_dir() and folder.resolve() in path.resolve().parents


def _check_kind(folder: Path) -> None:
    """Raises where weights of another kind were given, and says what to do with them."""
    if folder.is_file():
        advice = ""
        if folder.suffix in file_kinds.SUFFIXES:
            advice = f"; make one of it with `audiosep convert {folder} FOLDER`"
        raise CheckpointError(f"{folder} is not a checkpoint folder but a file{advice}.")
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is not a checkpoint folder: it does not exist.")
    try:
        values = json.loads((folder / CONFIG_FILE).read_text("utf-8"))
    except (OSError, ValueError):
        return  # reading the config says what is wrong
    kind = values.get("model_type") if isinstance(values, dict) else None
    if kind is not None:
        raise CheckpointError(
            f"{folder} is not a checkpoint folder but a {kind!r} model, which separates nothing: give "
            "the folder of an AudioSep; a tower belongs in its query.source."
        )
