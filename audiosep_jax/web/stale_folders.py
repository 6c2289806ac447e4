"""Folders of pages whose process was killed: nobody holds the file any more that each one's process held."""

import contextlib
import os
import shutil
from pathlib import Path

from audiosep_jax.errors import AudioSepError
from audiosep_jax.utils.locks import locked

_NAME = "held"


def hold(folder: Path) -> contextlib.ExitStack:
    """Holds a new folder until what is returned is closed, or the process ends.

    On a file system without locks nothing is held; then the folder does not look like one that was.

    Raises:
      OSError: nothing can be written into the folder.
    """
    closing = contextlib.ExitStack()
    with contextlib.suppress(AudioSepError):
        closing.enter_context(locked(folder / f".{_NAME}", busy="", instead=""))
        (folder / f".{_NAME}").rename(folder / _NAME)  # seen by others only now that it is held
    return closing


def remove(parent: Path, prefix: str) -> None:
    """Removes the folders of this user that were held and are not any more.

    Args:
      parent: of the folders.
      prefix: of their names.
    """
    with contextlib.suppress(OSError):
        for folder in parent.glob(f"{prefix}*"):
            with contextlib.suppress(OSError, AudioSepError):
                status = folder.lstat()  # a link is not followed: others may write here, too
                if status.st_uid == os.getuid() and folder.is_dir() and not folder.is_symlink():
                    _remove_unless_held(folder)


def _remove_unless_held(folder: Path) -> None:
    if (folder / _NAME).is_file():
        with locked(folder / _NAME, busy="", instead=""):
            shutil.rmtree(folder, ignore_errors=True)
