"""One process at a time renders into a folder."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from audiosep_jax.errors import printable
from audiosep_jax.utils.locks import locked

LOCK = ".rendering.lock"


@contextlib.contextmanager
def only_rendering_in(out: Path) -> Iterator[None]:
    """Locks a folder, which is made if it is missing, and removes the lock file in the end.

    Raises:
      AudioSepError: another process renders there, or the folder cannot be written.
    """
    busy = f"another process renders into {printable(out)}"
    with locked(out / LOCK, busy=busy, instead="choose another folder"):
        try:
            yield
        finally:
            (out / LOCK).unlink(missing_ok=True)
