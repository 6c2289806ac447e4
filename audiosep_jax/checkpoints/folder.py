"""A checkpoint folder: `config.json`, `model.safetensors` and a model card."""

import dataclasses
import errno
import json
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors.numpy import save_file

from audiosep_jax.checkpoints import file_kinds
from audiosep_jax.config import ExperimentConfig
from audiosep_jax.errors import CheckpointError, StorageError, listed
from audiosep_jax.models import separator
from audiosep_jax.utils import staging
from audiosep_jax.utils.safetensors_file import TensorFile
from audiosep_jax.utils.serialization import load_json, to_dict

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
CARRIED_FILE = "carried.safetensors"  # tensors of the PyTorch file that this model does not use
PRESENCE_FILE = "presence.json"  # whether the sound is there; read by audiosep_jax.separation.presence
TOWER_FOLDER = "tower"
_REPLACED = (CONFIG_FILE, WEIGHTS_FILE, PRESENCE_FILE)
# Of a folder that nothing can take the place of: its parent cannot be written, or it is a mount point.
_FIXED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY, errno.EXDEV}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A trained model.

    Attributes:
      config: of the experiment that trained it.
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
    """Writes a checkpoint folder, whole or not at all.

    An older checkpoint there is replaced in one step, except its presence.json, which is removed because it
    describes the old weights; other files in the folder stay. In a mount point, or below a parent that
    cannot be written, the files are replaced one after the other, the config last.

    Args:
      folder: is made if it does not exist.
      config: is stored whole.
      variables: "params" and "batch_stats".
      kernel_dtype: "float32", or "float16" to halve the file; biases, scales and statistics stay float32.

    Raises:
      StorageError: the folder cannot be written.
    """
    place = Path(os.path.realpath(folder))  # a link stays, its folder is replaced
    tensors = {
        ".".join(path): np.ascontiguousarray(value, kernel_dtype if path[-1] == "kernel" else np.float32)
        for path, value in flatten_dict(dict(variables)).items()
    }

    def write(new: Path) -> None:
        save_file(tensors, new / WEIGHTS_FILE, metadata={"format": "audiosep_jax"})
        (new / CONFIG_FILE).write_text(json.dumps(to_dict(config), indent=2) + "\n", "utf-8")
        for name in (WEIGHTS_FILE, CONFIG_FILE):
            os.chmod(new / name, 0o644)

    try:
        mode = stat.S_IMODE(place.stat().st_mode) if place.is_dir() else None
        try:
            with staging.staged_folder(place, keep=lambda name: name not in _REPLACED) as new:
                write(new)
            if mode is not None:
                place.chmod(mode)
        except OSError as error:
            if mode is None or error.errno not in _FIXED:
                raise
            _replace_inside(place, write)
    except OSError as error:
        reason = error.strerror or error
        raise StorageError(
            f"checkpoint folder {folder} cannot be written ({reason}): make room or permit it, or choose "
            "another folder."
        ) from error


def _replace_inside(place: Path, write: Callable[[Path], None]) -> None:
    with tempfile.TemporaryDirectory(prefix=".", dir=place) as staged:
        write(Path(staged))
        (place / PRESENCE_FILE).unlink(missing_ok=True)
        for name in (WEIGHTS_FILE, CONFIG_FILE):
            os.replace(Path(staged) / name, place / name)


def load(folder: str | Path) -> Checkpoint:
    """Reads a checkpoint folder; a `query.source` inside the folder becomes the path to it.

    A folder that is replaced meanwhile is read again, so that config and weights belong together.

    Raises:
      CheckpointError: the folder is something else, a file is missing or damaged, or tensors are missing,
        unknown or mis-shaped.
    """
    folder = Path(folder)
    if not folder.exists():
        # `save` may have been killed while it replaced the folder.
        staging.recover(Path(os.path.realpath(folder)))
    while True:
        before = _identity(folder)
        try:
            checkpoint = _load(folder)
        except CheckpointError:
            if _identity(folder) == before:
                raise
        else:
            if _identity(folder) == before:
                return checkpoint


def _identity(folder: Path) -> tuple[int, int] | None:
    """Returns values that change when another folder takes this one's place."""
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_ino, status.st_ctime_ns


def _load(folder: Path) -> Checkpoint:
    _check_kind(folder)
    config = load_json(ExperimentConfig, folder / CONFIG_FILE, kind=CheckpointError)
    source = config.query.source
    if source and _inside(folder, folder / source):
        query = dataclasses.replace(config.query, source=str(folder / source))
        config = dataclasses.replace(config, query=query)
    weights = folder / WEIGHTS_FILE
    if not weights.is_file():
        raise CheckpointError(f"{folder} holds no {WEIGHTS_FILE}: it is not a complete checkpoint folder.")
    flat, problems = {}, []
    shapes = separator.flat_shapes(config.model)
    expected = {".".join(path): path for path in shapes}
    tensors = TensorFile(weights)
    problems += [f"{name} is not part of this model" for name in sorted(set(tensors) - set(expected))]
    for name, path in expected.items():
        if name not in tensors:
            problems.append(f"{name} is missing")
        elif tensors.shapes[name] != shapes[path]:
            problems.append(f"{name} has shape {tensors.shapes[name]}, needed is {shapes[path]}")
        else:
            flat[path] = tensors[name].astype(np.float32)
    if problems:
        found = listed(problems, separator="; ")
        raise CheckpointError(f"{weights} does not fit its {CONFIG_FILE}: {found}.")
    return Checkpoint(config=config, variables=unflatten_dict(flat))


def _inside(folder: Path, path: Path) -> bool:
    return path.is_dir() and folder.resolve() in path.resolve().parents


def _check_kind(folder: Path) -> None:
    """Raises if `folder` is another kind of weights, and says what to do with them."""
    if folder.is_file():
        advice = ""
        if folder.suffix in file_kinds.SUFFIXES:
            advice = f"; convert it with `audiosep convert {folder} FOLDER`"
        raise CheckpointError(f"{folder} is not a checkpoint folder but a file{advice}.")
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is not a checkpoint folder: it does not exist.")
    try:
        values = json.loads((folder / CONFIG_FILE).read_text("utf-8"))
    except (OSError, ValueError):
        return  # `load_json` then says what is wrong
    kind = values.get("model_type") if isinstance(values, dict) else None
    if kind is not None:
        raise CheckpointError(
            f"{folder} is not a checkpoint folder but a {kind!r} model, which cannot separate: give the "
            "folder of an AudioSep; name a tower in its query.source."
        )
