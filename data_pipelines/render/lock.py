"""One process at a time renders into a folder."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from audiosep_jax.errors import StorageError, printable
from audiosep_jax.utils.atomic import make_folder
from audiosep_jax.utils.locks import locked

LOCK = ".rendering.lock"


@contextlib.contextmanager
def only_rendering_in(out: Path) -> Iterator[None]:
    """Makes a folder if it is none yet, and holds it; the lock's file goes in the end.

    Raises:
      AudioSepError: another process renders there, or the folder cannot be written.
    """
    make_folder(out)
    try:
        file = locked(
            out / LOCK,
            busy=f"another process renders into {printable(out)}",
            instead="choose another folder",
        )
    except OSError as error:
        raise StorageError(f"{printable(out)} cannot be written: {error.strerror}.") from error
    with file:
        try:
            yield
        finally:
            (out / LOCK).unlink(missing_ok=True)
