"""Files that one process at a time holds; the system lets go when it ends, however it ends."""

import contextlib
import fcntl
import io
import os
from pathlib import Path

from audiosep_jax.errors import StorageError, printable


def locked(path: Path, *, busy: str, instead: str) -> io.FileIO:
    """Opens a file, making it where there is none, and holds it until it is closed.

    Processes that inherit the file's descriptor hold it, too.

    Args:
      path: of the file; what is in it stays, and what is written goes to its end.
      busy: what an error says where somebody else holds it, such as "another process renders into out".
      instead: what an error advises, such as "choose another folder".

    Raises:
      AudioSepError: somebody else holds it, or it lies on a file system without locks.
      OSError: it cannot be opened.
    """
    while True:
        with contextlib.ExitStack() as closing:
            file = closing.enter_context(path.open("a+b", buffering=0))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StorageError(f"{busy}: wait for it, or {instead}.") from None
            except OSError as error:
                raise StorageError(
                    f"{printable(path.parent)} lies on a file system without locks ({error.strerror}): "
                    f"{instead}."
                ) from error
            if _is_at(file, path):
                closing.pop_all()
                return file
            # A process that has just ended removed it in between.


def _is_at(file: io.FileIO, path: Path) -> bool:
    """Whether the file that is held is the one that others would open."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
