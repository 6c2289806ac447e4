"""The safetensors format of an export: the checkpoint's own files, bit for bit."""

import shutil
from pathlib import Path

from audiosep_jax.checkpoints.folder import CONFIG_FILE, WEIGHTS_FILE
from audiosep_jax.config import ExperimentConfig
from audiosep_jax.errors import CheckpointError
from audiosep_jax.utils.serialization import load_json

_OPTIONAL = ("carried.safetensors", "README.md")


def copy(checkpoint: Path, folder: Path) -> None:
    """Copies the files of a checkpoint and its tower; `audiosep_jax.load` reads the copy."""
    for name in (CONFIG_FILE, WEIGHTS_FILE, *_OPTIONAL):
        if (checkpoint / name).is_file():
            shutil.copyfile(checkpoint / name, folder / name)
    source = load_json(ExperimentConfig, checkpoint / CONFIG_FILE, kind=CheckpointError).query.source
    if source and not Path(source).is_absolute() and (checkpoint / source).is_dir():
        shutil.copytree(checkpoint / source, folder / source, copy_function=shutil.copyfile)
