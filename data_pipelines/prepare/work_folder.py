"""The hidden folder beside a dataset that holds its unfinished build, with a lock."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from audiosep_jax.utils.locks import locked
from audiosep_jax.utils.staging import swap

_LOCK = "lock"
_REPLACED = "replaced"
_ASSEMBLED = "assembled"


class WorkFolder:
    """`.NAME.preparing` beside the dataset NAME.

    It holds one folder per fingerprint of a build. It stays after a build that was interrupted or failed. A
    build that succeeds removes it with everything in it.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.path = out.parent / f".{out.name}.preparing"
        self._replaced = self.path / _REPLACED
        self._assembled = self.path / _ASSEMBLED
        self._removed = False  # once removed, the path may belong to another process

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Makes the folder and locks it; the system frees the lock of a killed process.

        Afterwards a folder without a finished shard is removed.

        Raises:
          StorageError: another process builds there, or the folder cannot be written.
        """
        busy = f"another process is preparing {self.out}"
        with locked(self.path / _LOCK, busy=busy, instead="choose another --out"):
            if self._replaced.exists() and not self.out.exists():
                os.rename(self._replaced, self.out)  # killed between the two steps of a swap
            try:
                yield
            finally:
                if not self._removed and not any(self.path.glob("*/*.jsonl")):
                    self.remove()

    def publish(self, folder: Path, *, fingerprint: str) -> None:
        """Moves a complete dataset to `out`, in one step if nothing is there, and removes the folder.

        Raises:
          OSError: it cannot be moved; a dataset at `out` stays.
        """
        self._assembled.write_text(fingerprint)
        if not self.out.exists():
            os.rename(folder, self.out)
        else:
            shutil.rmtree(self._replaced, ignore_errors=True)
            swap(folder, self.out, aside=self._replaced)
        self.remove()

    def was_published(self, folder: Path, *, fingerprint: str) -> bool:
        """Returns whether a build was killed after it moved the dataset and before it removed the folder."""
        try:
            marked = self._assembled.read_text() == fingerprint
        except OSError:
            return False
        return marked and not folder.exists() and (self.out / "dataset_info.json").is_file()

    def remove(self) -> None:
        """Removes the folder; the mark that the dataset is complete is removed last."""
        self._removed = True
        for path in self.path.iterdir():
            if path.name not in (_LOCK, _ASSEMBLED):
                shutil.rmtree(path, ignore_errors=True)
        self._assembled.unlink(missing_ok=True)
        shutil.rmtree(self.path, ignore_errors=True)
