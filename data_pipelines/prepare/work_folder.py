"""The folder beside a dataset in which its unfinished build lies, and who may write there."""

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

    It holds one folder per fingerprint of a build. It outlives a build that was cut off or has failed, and
    is removed with everything in it when a build succeeds.

    Args:
      out: the dataset's folder.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.path = out.parent / f".{out.name}.preparing"
        self._replaced = self.path / _REPLACED
        self._assembled = self.path / _ASSEMBLED
        self._removed = False  # afterwards it may be another process's

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Makes the folder and keeps every other process out of it; the system lets go of a killed one's.

        Afterwards a folder in which no build has got anywhere is removed.

        Raises:
          AudioSepError: another process builds there, or the folder cannot be written.
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
        """Puts a complete dataset at `out`, in one step where nothing is there, and removes the folder.

        Raises:
          OSError: it cannot be put there; what was there stays.
        """
        self._assembled.write_text(fingerprint)
        if not self.out.exists():
            os.rename(folder, self.out)
        else:
            shutil.rmtree(self._replaced, ignore_errors=True)
            swap(folder, self.out, aside=self._replaced)
        self.remove()

    def was_published(self, folder: Path, *, fingerprint: str) -> bool:
        """Whether a build got as far as `publish` and was killed before the folder was removed."""
        try:
            marked = self._assembled.read_text() == fingerprint
        except OSError:
            return False
        return marked and not folder.exists() and (self.out / "dataset_info.json").is_file()

    def remove(self) -> None:
        """Removes the folder; what says that the dataset is complete goes last."""
        self._removed = True
        for path in self.path.iterdir():
            if path.name not in (_LOCK, _ASSEMBLED):
                shutil.rmtree(path, ignore_errors=True)
        self._assembled.unlink(missing_ok=True)
        shutil.rmtree(self.path, ignore_errors=True)
