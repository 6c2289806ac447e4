"""Uploads and results on disk: found by random names, forgotten with the page, or after a while."""

import contextlib
import dataclasses
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from audiosep_jax.errors import PageError, shown
from audiosep_jax.web import stale_folders
from audiosep_jax.web.limits import Limits

NOT_KEPT = "The recording is no longer kept: upload it again."
FULL = "The page holds as much as it may: try again in some minutes."
_PREFIX = "audiosep-web-"
_SWEEP_SECONDS = 15.0


@dataclasses.dataclass(frozen=True)
class Result:
    """A separation that is being computed.

    Attributes:
      token: the random name that a browser will know it by.
      folder: for its files.
      needs_bytes: what its files take at most.
      abandoned: set when nobody waits for it any more: its page was closed, or the command ends.
    """

    token: str
    folder: Path
    needs_bytes: int
    abandoned: threading.Event = dataclasses.field(default_factory=threading.Event)


class Storage:
    """A folder of its own for uploads and results, which is removed when the `with` statement ends.

    Such folders of processes that were killed are removed at the start.

    What a browser asks for is looked up by equality in a table of random names; no text of it becomes a path.

    Attributes:
      folder: the folder.
      uploads: where uploads are put, each in a folder named after its content.

    Raises:
      AudioSepError: the system's folder for temporary files cannot be written.
    """

    def __init__(self, limits: Limits) -> None:
        try:
            stale_folders.remove(Path(tempfile.gettempdir()), _PREFIX)
            self.folder = Path(tempfile.mkdtemp(prefix=_PREFIX)).resolve()
            self._held = stale_folders.hold(self.folder)
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
        self._making = threading.Lock()  # held while room is made
        self._files: dict[str, dict[str, Path]] = {}  # token -> name -> file
        self._sessions: dict[str, list[str]] = {}  # session -> its tokens, the oldest first
        self._used: dict[Path, set[str]] = {}  # upload -> the sessions that use it
        self._computed: dict[
            str, tuple[str, Result]
        ] = {}  # token -> session and result, while it is computed
        self._useless: dict[Path, float] = {}  # upload -> since when
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
        """Abandons what is being computed, and what will be; a signal handler may call it."""
        self._ended.set()
        for _, result in list(self._computed.values()):
            result.abandoned.set()

    @contextlib.contextmanager
    def result(self, session: str, *, needs_bytes: int = 0) -> Iterator[Result]:
        """Gives a new folder; nothing of it remains if the block ends with an error, or nobody waits for it.

        Where there is no room, older results of the same page go first.

        Args:
          session: of the page, with which the result is removed.
          needs_bytes: what the files will take at most.

        Raises:
          AudioSepError: there is no room for so much.
        """
        token = secrets.token_urlsafe(24)
        result = Result(token, self._results / token, needs_bytes)
        with self._making:
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
        """Returns a file of a result; None where there is no such."""
        with self._lock:
            return self._files.get(token, {}).get(name)

    def is_upload(self, text: str) -> bool:
        """Whether a text has the form of an upload's path, without looking at the disk: …/DIGEST/NAME."""
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
        """Notes that a page uses an upload; it stays until the last of its pages is closed."""
        with self._lock:
            self._used.setdefault(upload, set()).add(session)
            self._useless.pop(upload, None)
        with contextlib.suppress(OSError):
            os.utime(upload)  # it is kept for the whole time from now on

    def discard(self, upload: Path) -> None:
        """Removes an upload that is of no use, as soon as nothing is likely to be reading it."""
        with self._lock:
            self._useless[upload] = time.time()

    def release(self, session: str) -> None:
        """Removes the results of a page that was closed, and the uploads that no other page uses."""
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
                    self._useless.pop(upload, None)
                    unused.append(upload)
        for token in tokens:
            shutil.rmtree(self._results / token, ignore_errors=True)
        for upload in unused:
            _remove(upload)

    def is_full(self, coming: int = 0) -> bool:
        """Whether there is no room for an upload of the largest size, beside others that are coming."""
        return self._size() + (coming + 1) * self._limits.upload_bytes > self._limits.stored_bytes

    def _make_room(self, session: str, needs_bytes: int) -> None:
        most = self._limits.stored_bytes
        if needs_bytes > most:
            raise PageError(
                f"What comes out would take {needs_bytes / 1e6:,.0f} MB, and this page keeps "
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
        """Removes what has been kept for long enough, whoever left it."""
        oldest = time.time() - self._limits.kept_seconds
        for folder in (*_folders(self.uploads), *_folders(self._results)):
            with contextlib.suppress(OSError):
                # Not when their names changed: a result shares a file with its upload, which goes before it.
                if max(path.stat().st_mtime for path in (folder, *folder.iterdir())) < oldest:
                    with self._lock:
                        self._files.pop(folder.name, None)
                        for upload in [one for one in self._used if one.parent == folder]:
                            del self._used[upload]
                    shutil.rmtree(folder, ignore_errors=True)
        just_now = time.time() - min(_SWEEP_SECONDS, self._limits.kept_seconds)
        for entry in self.uploads.iterdir():  # an upload that was broken off
            with contextlib.suppress(OSError):
                if entry.is_file() and entry.stat().st_mtime < just_now:
                    entry.unlink()
        with self._lock:
            useless = [upload for upload, since in self._useless.items() if since < just_now]
            for upload in useless:
                del self._useless[upload]
                self._used.pop(upload, None)
        for upload in useless:
            _remove(upload)

    def _sweep_until_the_end(self) -> None:
        while not self._ended.wait(min(_SWEEP_SECONDS, self._limits.kept_seconds)):
            self.sweep()

    def _size(self) -> int:
        """Returns what lies on disk, a file with two names once, and what is computed as if it were done."""
        computed = {result.folder: result.needs_bytes for _, result in list(self._computed.values())}
        files: dict[tuple[int, int], int] = {}
        for folder, folders, names in os.walk(self.folder):
            folders[:] = [name for name in folders if Path(folder, name) not in computed]
            for name in names:
                with contextlib.suppress(OSError):
                    status = os.stat(os.path.join(folder, name))
                    files[status.st_dev, status.st_ino] = status.st_size
        return sum(files.values()) + sum(computed.values())


def _folders(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_dir()]


def _remove(upload: Path) -> None:
    with contextlib.suppress(OSError):
        upload.unlink()
        upload.parent.rmdir()
