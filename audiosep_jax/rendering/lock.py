"""One process at a time renders into a folder."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from audiosep_jax.errors import AudioSepError, printable
from audiosep_jax.evals.atomic import make_folder

LOCK = ".rendering.lock"


@contextlib.contextmanager
def only_rendering_in(out: Path) -> Iterator[None]:
    """Makes a folder if it is none yet, and holds it; the lock's file goes in the end.

    Raises:
      AudioSepError: another process renders there, or the folder cannot be written.
    """
    make_folder(out)
    while True:
        try:
            file = (out / LOCK).open("w")
        except OSError as error:
            raise AudioSepError(f"{printable(out)} cannot be written: {error.strerror}.") from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise AudioSepError(
                    f"another process renders into {printable(out)}: wait for it, or choose another folder."
                ) from None
            except OSError as error:
                raise AudioSepError(
                    f"{printable(out)} lies on a file system without locks ({error.strerror}): choose "
                    "another folder."
                ) from error
            if not _is_still_there(file.fileno(), out / LOCK):
                continue  # a process that has just ended removed it in between
            try:
                yield
            finally:
                (out / LOCK).unlink(missing_ok=True)
            return


def _is_still_there(lock: int, path: Path) -> bool:
    """Whether the file that is locked is the one that others would lock."""
    try:
        return os.path.samestat(os.fstat(lock), path.stat())
    except FileNotFoundError:
        return False
