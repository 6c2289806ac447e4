"""Locks for one process at a time; the system frees them when the process ends, even when it is killed."""

import contextlib
import fcntl
import io
import os
from pathlib import Path

from audiosep_jax.errors import StorageError, printable


def locked(path: Path, *, busy: str, instead: str) -> io.FileIO:
    """Opens a file and locks it until it is closed.

    Processes that inherit the file's descriptor hold the lock, too.

    Args:
      path: of the file. It and its folder are made if they are missing. Its content stays, and writing
        appends to it.
      busy: what the error says when another process holds the lock, such as "another process renders into
        out".
      instead: what errors advise, such as "choose another folder".

    Raises:
      StorageError: another process holds the lock, the file system has no locks, or the file cannot be
        written.
    """
    while True:
        with contextlib.ExitStack() as closing:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                file = closing.enter_context(path.open("a+b", buffering=0))
            except OSError as error:
                if isinstance(error, FileNotFoundError) and not os.path.lexists(path):
                    continue  # the process that held the lock has just removed the folder
                raise StorageError(
                    f"{printable(path.parent)} cannot be written ({error.strerror}): {instead}."
                ) from error
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
            # The process that held the lock has just removed the file: others will lock a new one.


def _is_at(file: io.FileIO, path: Path) -> bool:
    """Whether the locked file is the one that other processes would open."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
