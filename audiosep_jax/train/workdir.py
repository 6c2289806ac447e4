"""The files that a run writes beside its checkpoints, in a local work directory or in a bucket."""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path

from audiosep_jax.train import storage


class Workdir:
    """A run's work directory.

    A bucket cannot append. Growing files (logs, TensorBoard) are written to a local folder and copied whole,
    at every checkpoint and at the end. A local work directory is written in place.

    Attributes:
      path: a local folder, or an address such as `gs://bucket/run`; it is created.
      remote: whether it is in a bucket.
      local: local folder of growing files; `path` itself if that is local.

    Raises:
      AudioSepError: it cannot be created or reached, or the package for the bucket is not installed. Methods
        raise it if they cannot read or write, those that copy in the background at a later call.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = storage.work_directory(path)
        self.remote = storage.is_remote(path)
        local = storage.work_directory(_scratch(os.fspath(path))) if self.remote else self.path
        self.local: Path = Path(local)
        self._copying = futures.ThreadPoolExecutor(1, thread_name_prefix="copying")
        self._copies: list[futures.Future[None]] = []

    def read_text(self, name: str) -> str | None:
        """Returns a file's text, or None if there is no such file."""
        content = storage.read_bytes(self.path / name)
        return None if content is None else content.decode("utf-8", errors="replace")

    def write_text(self, name: str, text: str) -> None:
        """Writes a small file whole or not at all."""
        with storage.replacing_file(self.path / name) as temporary:
            temporary.write_text(text, "utf-8")

    @contextlib.contextmanager
    def written(self, name: str) -> Iterator[Path]:
        """Yields a local folder to write in; when the block ends, its files are in the folder `name`."""
        with storage.local_folder(self.path / name) as folder:
            folder.mkdir(parents=True, exist_ok=True)
            yield folder

    def fetch(self, name: str) -> None:
        """Copies a growing file from the bucket, as an earlier process left it there."""
        if not self.remote:
            return
        file = self.local / name
        file.unlink(missing_ok=True)
        content = storage.read_bytes(self.path / name)
        if content is not None:
            file.write_bytes(content)

    def copy_later(self, name: str) -> None:
        """Copies a growing file, or all files of a folder, to the bucket in the background."""
        if not self.remote:
            return
        done = [copy for copy in self._copies if copy.done()]
        self._copies = [copy for copy in self._copies if copy not in done]
        self._copies.append(self._copying.submit(self._copy, name))
        for copy in done:
            copy.result()

    def wait(self) -> None:
        """Waits for all copies."""
        copies, self._copies = self._copies, []
        for copy in copies:
            copy.result()

    def _copy(self, name: str) -> None:
        source = self.local / name
        # A file without any line yet, such as that of spikes, does not exist.
        inside = sorted(source.rglob("*")) if source.is_dir() else [source]
        files = [file for file in inside if file.is_file()]
        for file in files:
            storage.upload(file, self.path / file.relative_to(self.local).as_posix())


def _scratch(address: str) -> Path:
    """Returns the local folder of an address, in the user's cache, so that a restart finds it."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "audiosep_jax" / "runs" / hashlib.sha256(address.rstrip("/").encode()).hexdigest()[:16]
