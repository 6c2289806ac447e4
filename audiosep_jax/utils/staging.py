"""Folders and files that take their place whole or not at all, and never over a stranger's files.

What is being written lies in a room beside its target, `.NAME-audiosep-…`. The room has a lock, which the
system frees when the process ends. A killed process leaves its room behind; the next one to write the same
target removes every room whose lock is free.
"""

import contextlib
import ctypes
import errno
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from audiosep_jax.errors import AudioSepError, StorageError
from audiosep_jax.utils.locks import locked

# In a room: its lock, the new folder or file, and the old folder while the two change places.
_LOCK, _NEW, _OLD = "lock", "new", "old"
_NOT_EMPTY = {errno.ENOTEMPTY, errno.EEXIST}
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
_LIBC = ctypes.CDLL(None, use_errno=True)
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


@contextlib.contextmanager
def staged_folder(
    path: Path, *, check: Callable[[], None] = lambda: None, keep: Callable[[str], bool] = lambda _: False
) -> Iterator[Path]:
    """Gives an empty folder beside `path` and moves it there when the block ends without an error.

    An old folder at `path` is replaced in one step. Where the system cannot exchange two folders, there are
    two steps; `recover` undoes the first if the process was killed between them.

    Args:
      path: of the folder; not a link.
      check: raises if what lies at `path` must not be replaced. It is called before the block, and again if
        `path` is taken when the block has ended.
      keep: whether an entry of the old folder, given by its name, goes over to the new one. An entry of that
        name in the new folder wins. If all entries of the old folder are kept, the new ones join them there.

    Raises:
      AudioSepError: from `check`, or the old folder could not be put back.
      OSError: something cannot be written.
    """
    recover(path)
    check()
    with _room(path) as room:
        new, old = room / _NEW, room / _OLD
        new.mkdir()
        yield new
        while True:
            try:
                os.rename(new, path)  # onto nothing or an empty folder: the system refuses anything else
                return
            except OSError as error:
                if is_taken(path):
                    break
                if error.errno not in _NOT_EMPTY:  # else another process has just emptied or removed it
                    raise
        check()
        names = os.listdir(new)
        if all(keep(name) and name not in names for name in os.listdir(path)):
            for name in sorted(names, reverse=True):  # a config comes after the weights that it describes
                os.rename(new / name, path / name)
            return
        _carry_over(path, new, keep)
        if _exchange(new, path):
            old = new
        else:
            swap(new, path, aside=old)
        _carry_over(old, path, keep)  # what others wrote there meanwhile


@contextlib.contextmanager
def staged_file(path: Path, *, overwrite: bool, check: Callable[[], None]) -> Iterator[Path]:
    """Gives the name of a file beside `path` and moves it there when the block ends without an error.

    `path` must not be a link. With `overwrite` a file there is replaced, even one that appears at the last
    moment. `check` raises if what lies there must not be replaced; it is called before and after the block.

    Raises:
      AudioSepError: from `check`.
      OSError: something cannot be written.
    """
    recover(path)
    check()
    with _room(path) as room:
        new = room / _NEW
        yield new
        check()
        if overwrite:
            os.replace(new, path)
            return
        try:
            _move_file(new, path)
        except FileExistsError:
            check()
            raise


def swap(new: Path, path: Path, *, aside: Path) -> None:
    """Moves the folder at `path` aside and `new` in its place, or leaves both where they are.

    Raises:
      OSError: one of them cannot be moved.
    """
    os.rename(path, aside)
    try:
        os.rename(new, path)
    except BaseException:
        os.rename(aside, path)
        raise


def recover(path: Path) -> None:
    """Removes rooms that killed processes left for `path`, and puts back an old folder that lies in one."""
    parent = path.absolute().parent
    rooms = re.compile(re.escape(f".{path.name}-audiosep-") + "[a-z0-9_]{8}")
    for room in [place for place in parent.glob(".*-audiosep-*") if rooms.fullmatch(place.name)]:
        if (room / _LOCK).is_file():
            with (
                contextlib.suppress(OSError, AudioSepError),
                locked(room / _LOCK, busy=f"another process writes {path}", instead="choose another place"),
            ):
                _settle(room, path)


def foreign(path: Path, parts: Collection[str]) -> str | None:
    """Returns the first name below a folder that is none of `parts`; folders without files do not count."""
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path).as_posix()
        if (file.is_symlink() or not file.is_dir()) and name not in parts:
            return name
    return None


def is_taken(path: Path) -> bool:
    """Whether something lies at `path` that is not an empty folder."""
    return os.path.lexists(path) and (path.is_symlink() or not path.is_dir() or any(path.iterdir()))


def _exchange(first: Path, second: Path) -> bool:
    """Exchanges two folders in one step; returns False where the system or file system cannot."""
    if not hasattr(_LIBC, "renameat2"):  # glibc before 2.28, macOS
        return False
    names = os.fsencode(first), os.fsencode(second)
    return _LIBC.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0


def _carry_over(source: Path, target: Path, keep: Callable[[str], bool]) -> None:
    """Links the kept entries of one folder into another that has none of their names."""
    for entry in source.iterdir():
        place = target / entry.name
        if not keep(entry.name) or os.path.lexists(place):
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.copytree(entry, place, symlinks=True, copy_function=_link)
        else:
            _link(entry, place)


def _link(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:  # a file system without links, or a file of another user
        shutil.copy2(source, target, follow_symlinks=False)


def _move_file(source: Path, target: Path) -> None:
    """Moves a file to a name that is free, or raises FileExistsError."""
    try:
        os.link(source, target)
        source.unlink()
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY))  # reserves the name
        try:
            os.replace(source, target)
        except BaseException:
            target.unlink()
            raise


@contextlib.contextmanager
def _room(path: Path) -> Iterator[Path]:
    """Makes a locked folder beside `path`, and removes it with its content when the block ends."""
    parent = path.absolute().parent
    parent.mkdir(parents=True, exist_ok=True)
    room = Path(tempfile.mkdtemp(prefix=f".{path.name}-audiosep-", dir=parent))
    with contextlib.ExitStack() as holding:
        try:
            # Without locks on this file system, no process finds the room free, and none removes it.
            with contextlib.suppress(OSError, StorageError):
                holding.enter_context(locked(room / f".{_LOCK}", busy="", instead=""))
                os.rename(room / f".{_LOCK}", room / _LOCK)  # others see the lock only when it is held
            yield room
        finally:
            _settle(room, path)


def _settle(room: Path, path: Path) -> None:
    """Removes a room; an old folder in it that was not replaced goes back first."""
    old, new = room / _OLD, room / _NEW
    if old.exists() and new.exists():
        try:
            os.rename(old, path)
        except OSError as error:
            raise StorageError(
                f"{path} could not be put back ({error.strerror or error}): its files are in {old}."
            ) from error
    shutil.rmtree(old, ignore_errors=True)
    if new.is_dir():
        shutil.rmtree(new, ignore_errors=True)
    shutil.rmtree(room, ignore_errors=True)
