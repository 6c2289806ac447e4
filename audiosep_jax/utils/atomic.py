"""Writing a file whole or not at all."""

import contextlib
import json
import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from audiosep_jax.errors import StorageError, shown


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
        raise StorageError(
            f"{path} cannot be written as a folder: {error.strerror}; choose another one."
        ) from error


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Gives a temporary path beside `path` and, when the block ends without an error, moves it there.

    The temporary file keeps the suffix, because writers choose the format by it.

    Raises:
      AudioSepError: the folder cannot be made or written.
    """
    make_folder(Path(path).parent)
    try:
        with beside(path) as temporary:
            yield temporary
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {shown(error.strerror or error)}.") from error


@contextlib.contextmanager
def beside(path: str | Path, *, suffix: str | None = None, durable: bool = False) -> Iterator[Path]:
    """Does what `replacing` does in a folder that is there, and leaves the error to the caller.

    Args:
      path: of the file.
      suffix: of the temporary file, if not that of `path`.
      durable: the file's content is on the disk before it is moved.

    Raises:
      OSError: it cannot be written.
    """
    path = Path(path)
    ending = path.suffix if suffix is None else suffix
    temporary = path.with_name(f".{path.stem}-{secrets.token_hex(4)}{ending}")
    temporary.touch(exist_ok=False)
    try:
        yield temporary
        if durable:
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def write_json(path: str | Path, values: Any) -> None:
    """Writes plain JSON values, whole or not at all.

    Raises:
      AudioSepError: the file cannot be written.
      ValueError: a number is NaN or infinite, which JSON has not.
    """
    text = json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False)
    with replacing(path) as temporary:
        # A name that is no text holds lone surrogates: written as \udc80, as JSON itself escapes them.
        temporary.write_text(text + "\n", "utf-8", errors="backslashreplace")
