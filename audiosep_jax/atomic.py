"""Writing a file whole or not at all."""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from audiosep_jax.errors import AudioSepError


def make_folder(path: str | Path) -> Path:
    """Makes a folder for results, before the work that fills it starts.

    Raises:
      AudioSepError: it cannot be made or written.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return path
    except OSError as error:
        raise AudioSepError(
            f"{path} cannot be written as a folder: {error.strerror}; choose another one."
        ) from error


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Gives a temporary path beside `path` and, when the block ends without an error, moves it there.

    The temporary file keeps the suffix, because writers choose the format by it.

    Raises:
      AudioSepError: the folder cannot be made or written.
    """
    path = Path(path)
    make_folder(path.parent)
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
        os.close(handle)
    except OSError as error:
        raise AudioSepError(f"{path} cannot be written: {error.strerror}.") from error
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise AudioSepError(f"{path} cannot be written: {error.strerror}.") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: str | Path, values: Any) -> None:
    """Writes plain JSON values, whole or not at all.

    Raises:
      AudioSepError: the file cannot be written.
      ValueError: a number is NaN or infinite, which JSON has not.
    """
    text = json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False)
    with replacing(path) as temporary:
        temporary.write_text(text + "\n", "utf-8")
