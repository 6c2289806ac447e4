"""Writing a folder or file whole or not at all."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from audiosep_jax.errors import AudioSepError


@contextlib.contextmanager
def new_folder(path: str | Path, *, overwrite: bool) -> Iterator[Path]:
    """Gives an empty folder beside `path` and, when the block ends without an error, renames it to `path`.

    Args:
      path: must not exist, or be an empty folder.
      overwrite: an existing folder is replaced, if it has a config.json: it is a checkpoint or a tower.

    Raises:
      AudioSepError: there is something else, or the folder cannot be written.
    """
    path = Path(path)
    _check_folder(path, overwrite=overwrite)
    with _errors(path):
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.absolute().parent))
        try:
            staging.chmod(0o755)
            yield staging
            for file in staging.rglob("*"):
                file.chmod(0o755 if file.is_dir() else 0o644)
            if path.is_dir() and any(path.iterdir()):
                _exchange(staging, path)
            else:
                os.replace(staging, path)
        finally:
            shutil.rmtree(staging, ignore_errors=True)


@contextlib.contextmanager
def new_file(path: str | Path, *, overwrite: bool) -> Iterator[Path]:
    """Gives the name of a file beside `path` and, when the block ends without an error, renames it to `path`.

    Raises:
      AudioSepError: the file exists and is not to be overwritten, or it cannot be written.
    """
    path = Path(path)
    if path.is_dir():
        raise AudioSepError(f"{path} is a folder: give the name of a file, such as {path / 'model.ckpt'}.")
    if path.exists() and not overwrite:
        raise AudioSepError(f"{path} exists: choose another name, or add --overwrite.")
    with _errors(path):
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.absolute().parent)
        os.close(handle)
        staging = Path(name)
        try:
            yield staging
            staging.chmod(0o644)
            os.replace(staging, path)
        finally:
            staging.unlink(missing_ok=True)


def _check_folder(path: Path, *, overwrite: bool) -> None:
    if not path.exists():
        return
    if not path.is_dir():
        raise AudioSepError(f"{path} is a file: give the name of a new folder.")
    if not any(path.iterdir()):
        return
    if not overwrite:
        raise AudioSepError(f"{path} exists and is not empty: choose another folder, or add --overwrite.")
    if not (path / "config.json").is_file() or not (path / "model.safetensors").is_file():
        raise AudioSepError(
            f"{path} is not a checkpoint folder, so that --overwrite leaves it alone: choose another folder."
        )


def _exchange(staging: Path, path: Path) -> None:
    """Puts a new folder in the place of one that is not empty, which no single rename can do."""
    old = Path(tempfile.mkdtemp(prefix=f".{path.name}-old-", dir=path.absolute().parent))
    os.replace(path, old)
    try:
        os.replace(staging, path)
    except BaseException:
        os.replace(old, path)
        raise
    shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def _errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise AudioSepError(f"{path} cannot be written: {error.strerror or error}.") from error
