"""Checkpoint folders on the Hugging Face hub: found in the cache or downloaded."""

import json
import re
from pathlib import Path

from audiosep_jax.errors import CheckpointError
from audiosep_jax.utils import hub_download

REPOSITORY = re.compile(rf"({hub_download.MODEL_ID.pattern})(?:@([\w./-]+))?")

# All files of a checkpoint folder. Other files of a repository are not downloaded.
FILES = (
    "config.json",
    "model.safetensors",
    "carried.safetensors",
    "presence.json",
    "README.md",
    "tower/*.json",
    "tower/*.txt",
    "tower/*.safetensors",
)
REQUIRED = ("config.json", "model.safetensors")


def resolve(checkpoint: str | Path) -> Path:
    """Returns the folder of a checkpoint; a model on the hub is downloaded if it is not cached.

    Args:
      checkpoint: a folder, or a model on the hub as "org/name" or "org/name@revision" (a branch, tag or
        commit). A copy in the Hugging Face cache is used without contacting the hub.

    Raises:
      CheckpointError: the hub has no such model, or it is not in the cache and cannot be downloaded.
    """
    path = Path(checkpoint).expanduser()
    name = REPOSITORY.fullmatch(checkpoint) if isinstance(checkpoint, str) else None
    if path.exists() or name is None:
        return path
    repository, revision = name.groups()
    folder = hub_download.cached(repository, files=FILES, revision=revision)
    if folder is not None and _is_whole(folder):
        return folder
    folder = hub_download.downloaded(
        repository, files=FILES, revision=revision, kind=CheckpointError, instead="a checkpoint folder"
    )
    absent = [file for file in REQUIRED if not (folder / file).is_file()]
    if absent:
        raise CheckpointError(
            f"The model {checkpoint} on the hub has no {' and no '.join(absent)}: it is not a checkpoint of "
            "audiosep_jax; PyTorch files are converted with `audiosep convert`."
        )
    return folder


def _is_whole(folder: Path) -> bool:
    """Whether a cached folder has all required files; an interrupted download leaves some out."""
    if not all((folder / file).is_file() for file in REQUIRED):
        return False
    try:
        source = json.loads((folder / "config.json").read_text("utf-8"))["query"]["source"]
    except (OSError, ValueError, KeyError, TypeError):
        return True  # loading the config says what is wrong
    return source != "tower" or all((folder / "tower" / file).is_file() for file in REQUIRED)
