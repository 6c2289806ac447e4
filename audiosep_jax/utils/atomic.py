"""Files that appear whole or not at all."""

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
      StorageError: the folder cannot be made or written.
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
def replacing(
    path: str | Path, *, suffix: str | None = None, durable: bool = False, advice: str = ""
) -> Iterator[Path]:
    """Gives a temporary path beside `path` and moves it there when the block ends without an error.

    Args:
      path: of the file; its folder is made if it is missing.
      suffix: of the temporary file. By default that of `path`, because writers choose the format by it.
      durable: write the content to the disk before the move.
      advice: what the error tells the user to do, such as "make room, and start again".

    Raises:
      StorageError: the folder or the file cannot be written.
    """
    path = Path(path)
    if not path.parent.is_dir():
        make_folder(path.parent)
    ending = path.suffix if suffix is None else suffix
    temporary = path.with_name(f".{path.stem}-{secrets.token_hex(4)}{ending}")
    try:
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
    except OSError as error:
        reason = shown(error.strerror or error) + (f"; {advice}" if advice else "")
        raise StorageError(f"{path} cannot be written: {reason}.") from error


def write_json(path: str | Path, values: Any) -> None:
    """Writes plain JSON values, whole or not at all.

    Raises:
      StorageError: the file cannot be written.
      ValueError: a number is NaN or infinite, which JSON cannot express.
    """
    text = json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False)
    with replacing(path) as temporary:
        # Names that are not UTF-8 hold lone surrogates: they are written as \udc80, as JSON escapes them.
        temporary.write_text(text + "\n", "utf-8", errors="backslashreplace")
