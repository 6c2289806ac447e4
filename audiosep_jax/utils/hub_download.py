"""Models on the Hugging Face hub: found in the cache or downloaded."""

import re
from collections.abc import Sequence
from pathlib import Path

from audiosep_jax.errors import AudioSepError

MODEL_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def cached(repository: str, *, files: Sequence[str], revision: str | None = None) -> Path | None:
    """Returns the folder of a model in the cache, or None. An interrupted download leaves a part of it.

    The repository is "org/name" (the oldest models have no "org/"), the files are names or patterns, and the
    revision is a branch, tag or commit.
    """
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(
                repository, revision=revision, allow_patterns=list(files), local_files_only=True
            )
        )
    except Exception:  # not cached; if something else is wrong, the download finds it again and says so
        return None


def downloaded(
    repository: str,
    *,
    files: Sequence[str],
    revision: str | None = None,
    kind: type[AudioSepError],
    instead: str,
) -> Path:
    """Downloads a model into the cache and returns its folder; the arguments are those of `cached`.

    `instead` is what the user may give instead, such as "a checkpoint folder".

    Raises:
      AudioSepError: of `kind`: the hub has no such model or revision, or cannot be reached.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=list(files)))
    except RevisionNotFoundError as error:
        raise kind(
            f"The model {repository} has no revision {revision!r}: name a branch, tag or commit of it."
        ) from error
    except RepositoryNotFoundError as error:
        raise kind(
            f"{repository!r} is neither a folder here nor a model on the Hugging Face hub that you may read: "
            "check the spelling, and log in with `hf auth login` if it is private."
        ) from error
    except Exception as error:  # the HTTP libraries raise many kinds of error without a network
        name = repository if revision is None else f"{repository}@{revision}"
        raise kind(
            f"The model {name} is not in the Hugging Face cache and could not be downloaded "
            f"({type(error).__name__}): connect to the network, set HF_HOME to a cache that holds it, "
            f"or give {instead}."
        ) from error
