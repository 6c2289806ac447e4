"""Checkpoint folders on the Hugging Face hub: found in the cache or downloaded."""

import json
import re
from pathlib import Path

from audiosep_jax.errors import CheckpointError

REPOSITORY = re.compile(r"([A-Za-z0-9][\w.-]*/[\w.-]+)(?:@([\w./-]+))?")

# All that a checkpoint folder may hold: a repository's other files are left where they are.
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
    """Returns the folder that a checkpoint's name stands for.

    Args:
      checkpoint: a folder, or a model on the hub as "org/name" or "org/name@revision" (a branch, tag or
        commit). A copy in the Hugging Face cache is used as it is, without asking the hub.

    Raises:
      AudioSepError: the hub has no such model, or it is not in the cache and cannot be downloaded.
    """
    path = Path(checkpoint).expanduser()
    name = REPOSITORY.fullmatch(checkpoint) if isinstance(checkpoint, str) else None
    if path.exists() or name is None:
        return path
    repository, revision = name.groups()
    return _cached(repository, revision) or _download(repository, revision, checkpoint=str(checkpoint))


def _cached(repository: str, revision: str | None) -> Path | None:
    from huggingface_hub import snapshot_download

    try:
        folder = Path(
            snapshot_download(
                repository, revision=revision, allow_patterns=list(FILES), local_files_only=True
            )
        )
    except Exception:  # not cached; whatever else is wrong, the download finds it again and says so
        return None
    return folder if _is_whole(folder) else None


def _is_whole(folder: Path) -> bool:
    """Whether a cached folder has what it needs: an interrupted download leaves a part."""
    if not all((folder / file).is_file() for file in REQUIRED):
        return False
    try:
        source = json.loads((folder / "config.json").read_text("utf-8"))["query"]["source"]
    except (OSError, ValueError, KeyError, TypeError):
        return True  # whatever it is, it is there; loading it says what is wrong
    return source != "tower" or all((folder / "tower" / file).is_file() for file in REQUIRED)


def _download(repository: str, revision: str | None, *, checkpoint: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    try:
        folder = Path(snapshot_download(repository, revision=revision, allow_patterns=list(FILES)))
    except RevisionNotFoundError as error:
        raise CheckpointError(
            f"The model {repository} has no revision {revision!r}: name a branch, tag or commit of it."
        ) from error
    except RepositoryNotFoundError as error:
        raise CheckpointError(
            f"{checkpoint!r} is neither a folder here nor a model on the Hugging Face hub that you may read: "
            "check the spelling, and log in with `hf auth login` if it is private."
        ) from error
    except Exception as error:  # whatever the HTTP library of the day raises without a network
        raise CheckpointError(
            f"The model {checkpoint} is not in the Hugging Face cache and could not be downloaded "
            f"({type(error).__name__}): connect to the network, set HF_HOME to a cache that holds it, "
            "or give a checkpoint folder."
        ) from error
    absent = [file for file in REQUIRED if not (folder / file).is_file()]
    if absent:
        raise CheckpointError(
            f"The model {checkpoint} on the hub has no {' and no '.join(absent)}: it is not a checkpoint of "
            "audiosep_jax; PyTorch files are taken over with `audiosep convert`."
        )
    return folder
