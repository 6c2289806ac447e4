"""Uploads a checkpoint folder to the Hugging Face hub."""

import dataclasses
import json
from pathlib import Path

from audiosep_jax.checkpoints import folder, hub, model_card, tower_folder
from audiosep_jax.config import ExperimentConfig
from audiosep_jax.errors import CheckpointError, StorageError
from audiosep_jax.utils.serialization import load_json, to_dict


def push(
    checkpoint: str | Path,
    repository: str,
    *,
    private: bool = False,
    revision: str | None = None,
    message: str | None = None,
) -> str:
    """Uploads a checkpoint folder in one commit and returns its address; `load("org/name")` then finds it.

    A tower in another folder is uploaded, too. A folder without README.md gets a model card.

    Args:
      checkpoint: a checkpoint folder.
      repository: "org/name"; it is created where it does not exist.
      private: whether a repository that is created is private.
      revision: a branch; it is created where it does not exist.
      message: of the commit.

    Raises:
      CheckpointError: the folder cannot be loaded, or the name is impossible.
      StorageError: the hub refuses the upload or cannot be reached.
    """
    checkpoint = Path(checkpoint).expanduser()
    if not hub.REPOSITORY.fullmatch(repository) or "@" in repository:
        raise CheckpointError(f"{repository!r} is no name on the hub: give one like org/name.")
    loaded = folder.load(checkpoint)
    files = _files(checkpoint, loaded.config.query.source)

    from huggingface_hub import CommitOperationAdd, HfApi

    operations = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=file) for name, file in files.items()]
    try:
        api = HfApi()
        api.create_repo(repository, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(repository, branch=revision, exist_ok=True)
        api.create_commit(
            repository,
            operations,
            commit_message=message or f"Upload {loaded.config.name}",
            revision=revision,
        )
    except Exception as error:  # the HTTP libraries raise many kinds of error
        raise StorageError(_refusal(repository, error)) from error
    return f"https://huggingface.co/{repository}"


def _files(checkpoint: Path, source: str) -> dict[str, str | bytes]:
    """Returns the files to upload: by their name in the repository, a path or the content."""
    names = (
        *(folder.CONFIG_FILE, folder.WEIGHTS_FILE, folder.CARRIED_FILE, folder.PRESENCE_FILE),
        model_card.FILE,
    )
    files: dict[str, str | bytes] = {
        name: str(checkpoint / name) for name in names if (checkpoint / name).is_file()
    }
    config = load_json(ExperimentConfig, checkpoint / folder.CONFIG_FILE, kind=CheckpointError)
    bundled = Path(source).expanduser()
    if source and bundled.is_dir():
        if not (bundled / folder.CONFIG_FILE).is_file() or not tower_folder.tokenizer_files(bundled):
            raise CheckpointError(
                f"The tower {bundled} is incomplete: its config.json or tokenizer is missing."
            )
        query = dataclasses.replace(config.query, source=folder.TOWER_FOLDER)
        config = dataclasses.replace(config, query=query)
        files |= {
            f"{folder.TOWER_FOLDER}/{file.relative_to(bundled).as_posix()}": str(file)
            for file in sorted(bundled.rglob("*"))
            if file.is_file() and file.suffix in (".json", ".txt", ".safetensors")
        }
        files[folder.CONFIG_FILE] = (json.dumps(to_dict(config), indent=2) + "\n").encode()
    if model_card.FILE not in files:
        files[model_card.FILE] = model_card.text(config).encode()
    return files


def _refusal(repository: str, error: Exception) -> str:
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    if isinstance(error, LocalTokenNotFoundError) or status == 401:
        return (
            f"The hub does not know who writes to {repository}: log in with `hf auth login`, or set HF_TOKEN "
            "to a token with write access."
        )
    if status == 403:
        return f"This token may not write to {repository}: use one that may, or another name."
    detail = str(error).strip().splitlines()
    return (
        f"{repository} could not be uploaded ({type(error).__name__}: {detail[0] if detail else 'no reason'}"
        "): check the network and try again."
    )
