"""Uploads and results on disk: found by random names, deleted with their page or after a time."""

import contextlib
import dataclasses
import os
import secrets
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from audiosep_jax.errors import AudioSepError, PageError, shown
from audiosep_jax.utils.locks import locked
from audiosep_jax.web.limits import Limits

NOT_KEPT = "The recording was deleted: upload it again."
FULL = "The storage of this page is full: try again in some minutes."
_PREFIX = "audiosep-web-"
_HELD = "held"  # the file that a running server locks
_SWEEP_SECONDS = 15.0


@dataclasses.dataclass(frozen=True)
class Result:
    """A separation that is being computed; it is abandoned when its page is closed, or the command ends."""

    token: str  # its random name in addresses of the page
    folder: Path
    needs_bytes: int  # the most that its files take
    abandoned: threading.Event = dataclasses.field(default_factory=threading.Event)


class Storage:
    """A temporary folder for uploads and results, which is deleted when the `with` statement ends.

    Folders left by killed servers are deleted at the start.

    Requested results are looked up in a table of random names; no text from a browser becomes a path. In
    `uploads` each upload lies in a folder named after its content.

    Raises:
      AudioSepError: the system's folder for temporary files cannot be written.
    """

    def __init__(self, limits: Limits) -> None:
        try:
            _remove_stale(Path(tempfile.gettempdir()))
            self.folder = Path(tempfile.mkdtemp(prefix=_PREFIX)).resolve()
            self._held = _hold(self.folder)
        except OSError as error:
            raise PageError(
                f"No temporary folder can be made ({shown(error.strerror)}): free space, or set TMPDIR."
            ) from error
        self.uploads = self.folder / "uploads"
        self.uploads.mkdir()
        self._results = self.folder / "results"
        self._results.mkdir()
        self._limits = limits
        self._lock = threading.Lock()
        self._making_room = threading.Lock()
        self._files: dict[str, dict[str, Path]] = {}  # token -> name -> file
        self._sessions: dict[str, list[str]] = {}  # session -> its tokens, the oldest first
        self._used: dict[Path, set[str]] = {}  # upload -> the sessions that use it
        self._computed: dict[str, tuple[str, Result]] = {}  # token -> session and result in progress
        self._unusable: dict[Path, float] = {}  # upload -> since when
        self._ended = threading.Event()
        self._janitor = threading.Thread(target=self._sweep_until_the_end, name="janitor", daemon=True)

    def __enter__(self) -> "Storage":
        self._janitor.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._janitor.join()
        shutil.rmtree(self.folder, ignore_errors=True)
        self._held.close()

    def stop(self) -> None:
        """Cancels all results, in progress and new; a signal handler may call it."""
        self._ended.set()
        for _, result in list(self._computed.values()):
            result.abandoned.set()

    @contextlib.contextmanager
    def result(self, session: str, *, needs_bytes: int = 0) -> Iterator[Result]:
        """Gives a new folder, which is deleted if the block ends with an error or the result is abandoned.

        If the storage is full, older results of the same page are deleted first. The result is deleted with
        its page. `needs_bytes` is the most that the files will take.

        Raises:
          PageError: there is not enough room.
        """
        token = secrets.token_urlsafe(24)
        result = Result(token, self._results / token, needs_bytes)
        with self._making_room:
            self._make_room(session, needs_bytes)
            self._computed[token] = session, result
        result.folder.mkdir()
        if self._ended.is_set():
            result.abandoned.set()
        kept = False
        try:
            yield result
            with self._lock:
                kept = not result.abandoned.is_set()
                if kept:
                    self._files[token] = {path.name: path for path in result.folder.iterdir()}
                    self._sessions.setdefault(session, []).append(token)
        finally:
            del self._computed[token]
            if not kept:
                shutil.rmtree(result.folder, ignore_errors=True)

    def find(self, token: str, name: str) -> Path | None:
        """Returns a file of a result; None if it does not exist."""
        with self._lock:
            return self._files.get(token, {}).get(name)

    def is_upload(self, text: str) -> bool:
        """Whether a text has the form of an upload's path, …/DIGEST/NAME; does not look at the disk."""
        root = f"{self.uploads}{os.sep}"
        digest, _, name = text.removeprefix(root).partition(os.sep)
        return (
            text.startswith(root)
            and len(digest) == 64
            and set(digest) <= set("0123456789abcdef")
            and name not in ("", ".", "..")
            and os.sep not in name
            and "\0" not in name
        )

    def use(self, upload: Path, session: str) -> None:
        """Records that a page uses an upload; it is kept until the last of its pages is closed."""
        with self._lock:
            self._used.setdefault(upload, set()).add(session)
            self._unusable.pop(upload, None)
        with contextlib.suppress(OSError):
            os.utime(upload)  # its time starts again

    def discard(self, upload: Path) -> None:
        """Deletes an unusable upload at a later sweep, when nothing is likely to read it any more."""
        with self._lock:
            self._unusable[upload] = time.time()

    def release(self, session: str) -> None:
        """Deletes the results of a closed page, and the uploads that no other page uses."""
        with self._lock:
            for owner, result in list(self._computed.values()):
                if owner == session:
                    result.abandoned.set()
            tokens = self._sessions.pop(session, [])
            for token in tokens:
                self._files.pop(token, None)
            unused = []
            for upload, sessions in list(self._used.items()):
                sessions.discard(session)
                if not sessions:
                    del self._used[upload]
                    self._unusable.pop(upload, None)
                    unused.append(upload)
        for token in tokens:
            shutil.rmtree(self._results / token, ignore_errors=True)
        for upload in unused:
            _remove(upload)

    def is_full(self, coming: int = 0) -> bool:
        """Whether there is no room for one more upload of the largest size, beside those being received."""
        return self._size() + (coming + 1) * self._limits.upload_bytes > self._limits.stored_bytes

    def _make_room(self, session: str, needs_bytes: int) -> None:
        most = self._limits.stored_bytes
        if needs_bytes > most:
            raise PageError(
                f"The result would take {needs_bytes / 1e6:,.0f} MB, and this page keeps "
                f"{most / 1e6:,.0f} MB in all: give a shorter recording."
            )
        while self._size() + needs_bytes > most:
            with self._lock:
                tokens = self._sessions.get(session)
                if not tokens:
                    raise PageError(FULL)
                oldest = tokens.pop(0)
                self._files.pop(oldest, None)
            shutil.rmtree(self._results / oldest, ignore_errors=True)

    def sweep(self) -> None:
        """Deletes uploads and results that are older than the limit, and unusable uploads."""
        oldest = time.time() - self._limits.kept_seconds
        entries = [*self.uploads.iterdir(), *self._results.iterdir()]
        for folder in [entry for entry in entries if entry.is_dir()]:
            with contextlib.suppress(OSError):
                # Not ctime: a result is a hard link to its upload, whose deletion changes it.
                if max(path.stat().st_mtime for path in (folder, *folder.iterdir())) < oldest:
                    with self._lock:
                        self._files.pop(folder.name, None)
                        for upload in [one for one in self._used if one.parent == folder]:
                            del self._used[upload]
                    shutil.rmtree(folder, ignore_errors=True)
        just_now = time.time() - min(_SWEEP_SECONDS, self._limits.kept_seconds)
        for entry in self.uploads.iterdir():  # interrupted uploads
            with contextlib.suppress(OSError):
                if entry.is_file() and entry.stat().st_mtime < just_now:
                    entry.unlink()
        with self._lock:
            unusable = [upload for upload, since in self._unusable.items() if since < just_now]
            for upload in unusable:
                del self._unusable[upload]
                self._used.pop(upload, None)
        for upload in unusable:
            _remove(upload)

    def _sweep_until_the_end(self) -> None:
        while not self._ended.wait(min(_SWEEP_SECONDS, self._limits.kept_seconds)):
            self.sweep()

    def _size(self) -> int:
        """Returns the bytes on disk (hard links once), and the most that results in progress will take."""
        computed = {result.folder: result.needs_bytes for _, result in list(self._computed.values())}
        files: dict[tuple[int, int], int] = {}
        for folder, folders, names in os.walk(self.folder):
            folders[:] = [name for name in folders if Path(folder, name) not in computed]
            for name in names:
                with contextlib.suppress(OSError):
                    status = os.stat(os.path.join(folder, name))
                    files[status.st_dev, status.st_ino] = status.st_size
        return sum(files.values()) + sum(computed.values())


def _hold(folder: Path) -> contextlib.ExitStack:
    """Locks a new folder until the returned stack is closed, or the process ends.

    On a file system without locks nothing is locked, and the folder has no `held` file.

    Raises:
      OSError: nothing can be written into the folder.
    """
    closing = contextlib.ExitStack()
    with contextlib.suppress(AudioSepError):
        closing.enter_context(locked(folder / f".{_HELD}", busy="", instead=""))
        (folder / f".{_HELD}").rename(folder / _HELD)  # visible to other processes only once it is locked
    return closing


def _remove_stale(parent: Path) -> None:
    """Deletes folders left by killed servers of this user; a folder is stale when its lock is free."""
    with contextlib.suppress(OSError):
        for folder in parent.glob(f"{_PREFIX}*"):
            with contextlib.suppress(OSError, AudioSepError):
                status = folder.lstat()  # links are not followed: others may write into `parent`, too
                held = folder / _HELD
                if status.st_uid == os.getuid() and stat.S_ISDIR(status.st_mode) and held.is_file():
                    with locked(held, busy="", instead=""):
                        shutil.rmtree(folder, ignore_errors=True)


def _remove(upload: Path) -> None:
    with contextlib.suppress(OSError):
        upload.unlink()
        upload.parent.rmdir()
