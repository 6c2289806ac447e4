"""Writing a folder or file whole or not at all, and never over what somebody else put there.

What is being written lies in a room beside its target, `.NAME-audiosep-…`, with a lock that the system lets
go of when the process ends. A process that is killed leaves its room behind; the next one to write the same
target removes every room that nobody holds.
"""

import contextlib
import errno
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from audiosep_jax.errors import AudioSepError, StorageError

_TOWER_PARTS = (
    *("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"),
    *("vocab.json", "merges.txt", "vocab.txt", "preprocessor_config.json", "processor_config.json"),
    *("sentence_bert_config.json", "modules.json", "1_Pooling/config.json"),
)
_KEPT = "README.md"  # the user's own words, which no conversion writes
# All that may lie in a folder that --overwrite replaces: what conversions write, and what goes over.
PARTS = frozenset(
    (
        *_TOWER_PARTS,
        "carried.safetensors",
        "presence.json",
        _KEPT,
        *(f"tower/{name}" for name in _TOWER_PARTS),
    )
)

# In a room: the lock, the new, and while they change places the old.
_LOCK, _NEW, _OLD = "lock", "new", "old"
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


@contextlib.contextmanager
def new_folder(
    path: str | Path, *, overwrite: bool, sources: Collection[str | Path | None] = ()
) -> Iterator[Path]:
    """Gives an empty folder beside `path` and, when the block ends without an error, renames it to `path`.

    Args:
      path: must not exist, or be an empty folder, both now and when the block ends.
      overwrite: a checkpoint or tower folder may be there; its README.md goes over to the new one.
      sources: what is read meanwhile; those that are no paths do not matter.

    Raises:
      AudioSepError: there is something else, or a source, or the folder cannot be written.
    """
    path = Path(path)

    def check() -> None:
        _check_folder(path, overwrite=overwrite, sources=sources)

    with _errors(path), staged_folder(path, check=check, keep=(_KEPT,)) as staging:
        yield staging
        for file in staging.rglob("*"):
            file.chmod(0o755 if file.is_dir() else 0o644)


@contextlib.contextmanager
def new_file(
    path: str | Path, *, overwrite: bool, sources: Collection[str | Path | None] = ()
) -> Iterator[Path]:
    """Gives the name of a file beside `path` and, when the block ends without an error, renames it to `path`.

    Args:
      path: must not exist, neither now nor when the block ends.
      overwrite: a file may be there.
      sources: checkpoint folders that are read meanwhile.

    Raises:
      AudioSepError: the file exists and is not to be overwritten, or is part of a source, or it cannot be
        written.
    """
    path = Path(path)

    def check() -> None:
        if path.is_symlink():
            raise StorageError(f"{path} is a link: give the name of the file itself.")
        if path.is_dir():
            raise StorageError(f"{path} is a folder: give the name of a file, such as {path / 'model.ckpt'}.")
        if path.exists() and not overwrite:
            raise StorageError(f"{path} exists: choose another name, or add --overwrite.")
        for source in _existing(sources):
            if path.exists() and path.resolve() in {(source / name).resolve() for name in ("", *PARTS)}:
                raise StorageError(f"{path} is part of the source {source}: choose another name.")

    with _errors(path):
        _clear(path)
        check()
        with _room(path) as room:
            staging = room / _NEW
            yield staging
            staging.chmod(0o644)
            check()
            if overwrite:
                os.replace(staging, path)
                return
            try:
                _move_file(staging, path)
            except FileExistsError:
                check()
                raise


@contextlib.contextmanager
def staged_folder(path: Path, *, check: Callable[[], None], keep: Collection[str] = ()) -> Iterator[Path]:
    """Gives an empty folder beside `path` and, when the block ends without an error, moves it there.

    Args:
      path: of the folder.
      check: raises where what lies at `path` must stay, every time that it is asked: before the block, and
        when the new folder finds its place taken.
      keep: files of the old folder that go over to the new one, where it has none by that name.

    Raises:
      AudioSepError: from `check`, or the old folder could not be put back.
      OSError: something cannot be written.
    """
    _clear(path)
    check()
    with _room(path) as room:
        new = room / _NEW
        new.mkdir()
        new.chmod(0o755)
        yield new
        try:
            os.rename(new, path)  # onto nothing or an empty folder: the system refuses all else
        except OSError:
            if not _taken(path):
                raise
            check()
            for name in keep:
                if (path / name).is_file() and not (new / name).exists():
                    shutil.copy2(path / name, new / name, follow_symlinks=False)
            os.rename(path, room / _OLD)
            os.rename(new, path)  # if this fails, the old one goes back as the room is left


def foreign(path: Path, parts: Collection[str]) -> str | None:
    """Returns the first name below a folder that is none of `parts`; folders without files do not count."""
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path).as_posix()
        if (file.is_symlink() or not file.is_dir()) and name not in parts:
            return name
    return None


def _check_folder(path: Path, *, overwrite: bool, sources: Collection[str | Path | None]) -> None:
    if path.is_symlink():
        raise StorageError(f"{path} is a link: give the name of the folder itself.")
    if path.exists() and not path.is_dir():
        raise StorageError(f"{path} is a file: give the name of a new folder.")
    if not _taken(path):
        return
    if not overwrite:
        raise StorageError(f"{path} exists and is not empty: choose another folder, or add --overwrite.")
    for source in _existing(sources):
        if path.resolve() in (source.resolve(), *source.resolve().parents):
            raise StorageError(f"{path} holds the source {source}: choose another folder.")
    if not (path / "config.json").is_file() or not (path / "model.safetensors").is_file():
        raise StorageError(
            f"{path} is not a checkpoint folder, so that --overwrite leaves it alone: choose another folder."
        )
    name = foreign(path, PARTS)
    if name is not None:
        raise StorageError(
            f"{path} holds {name!r}, which no conversion wrote, so that --overwrite leaves it alone: move "
            "that away, or choose another folder."
        )


def _taken(path: Path) -> bool:
    """Whether there is something that a rename must not replace."""
    return os.path.lexists(path) and (path.is_symlink() or not path.is_dir() or any(path.iterdir()))


def _existing(sources: Collection[str | Path | None]) -> list[Path]:
    return [path for path in (Path(source).expanduser() for source in sources if source) if path.exists()]


def _move_file(source: Path, target: Path) -> None:
    """Gives a file a name that nobody has, or raises FileExistsError."""
    try:
        os.link(source, target)
        source.unlink()
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY))  # keeps the name
        try:
            os.replace(source, target)
        except BaseException:
            target.unlink()
            raise


@contextlib.contextmanager
def _room(path: Path) -> Iterator[Path]:
    """Makes a locked folder beside `path`; in the end it is removed, with what is in it."""
    parent = path.absolute().parent
    parent.mkdir(parents=True, exist_ok=True)
    room = Path(tempfile.mkdtemp(prefix=f".{path.name}-audiosep-", dir=parent))
    try:
        # It gets its name when it is held, so that nobody ever finds it free.
        with tempfile.NamedTemporaryFile(dir=room, delete=False) as lock:
            with contextlib.suppress(OSError):  # a file system without locks: nobody can find it free there
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.rename(lock.name, room / _LOCK)
            yield room
    finally:
        _settle(room, path)


def _settle(room: Path, path: Path) -> None:
    """Removes a room; an old folder that was moved there and never replaced goes back first."""
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


def _clear(path: Path) -> None:
    """Removes the rooms for `path` of processes that were killed."""
    parent = path.absolute().parent
    rooms = re.compile(re.escape(f".{path.name}-audiosep-") + "[a-z0-9_]{8}")
    for room in [place for place in parent.glob(".*-audiosep-*") if rooms.fullmatch(place.name)]:
        with contextlib.suppress(OSError, AudioSepError), (room / _LOCK).open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _settle(room, path)


@contextlib.contextmanager
def _errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror or error}.") from error
