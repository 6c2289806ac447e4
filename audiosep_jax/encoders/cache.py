"""A cache of conditions by caption, in memory and in files."""

import contextlib
import itertools
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from audiosep_jax.encoders import condition_files
from audiosep_jax.encoders.base import QueryEncoder
from audiosep_jax.errors import QueryError

MERGED = 8
"""Number of files that are merged into one, and of merged files that are merged again. The bytes written grow
with n log n instead of n², and few files remain."""


class ConditionCache:
    """The conditions of one encoder.

    Each batch of new conditions becomes a new file, and files never change. A process that is killed loses
    only the batch it was computing, and several processes can write to one folder. Names and metadata of the
    files contain the encoder's fingerprint, so several encoders can share a folder.
    """

    def __init__(
        self, encoder: QueryEncoder, *, folder: str | Path | None = None, beside: Sequence[str | Path] = ()
    ) -> None:
        """Makes a cache in `folder`, or in memory only if it is None.

        `beside` are other folders to read files of this encoder from, such as prepared datasets.
        """
        self._encoder = encoder
        self._folder = None if folder is None else Path(folder)
        self._rows: dict[str, np.ndarray] = {}
        for place in map(Path, beside):
            self._rows.update(self._read_folder(place))
            if others := (not condition_files.found(place, encoder)) and condition_files.found_of_others(
                place, encoder
            ):
                warnings.warn(
                    f"{others[0]} is of another tower and is not used: prepare {place} with this run's to "
                    "store its conditions there.",
                    stacklevel=2,
                )
        if self._folder is not None:
            self._rows.update(self._read_folder(self._folder))
        self._written: list[list[tuple[Path, list[str]]]] = []  # by number of merges

    def conditions(self, captions: Sequence[str]) -> Float[np.ndarray, "n size"]:
        """Returns one float32 condition per caption, in the order of the captions.

        Give many captions at once: missing ones are computed in batches and written to one file.

        Raises:
          QueryError: a caption is empty.
          StorageError: the file cannot be written.
        """
        if isinstance(captions, str):
            raise QueryError(f"conditions takes a list of captions: give [{captions!r}].")
        missing = [caption for caption in dict.fromkeys(captions) if caption not in self._rows]
        if missing:
            self._rows.update(zip(missing, self._encoder.encode(missing), strict=True))
            self._keep(missing)
        conditions = np.empty((len(captions), self._encoder.condition_size), np.float32)
        for place, caption in enumerate(captions):
            conditions[place] = self._rows[caption]
        return conditions

    def files(self) -> list[Path]:
        """Returns the files of this encoder in the cache's own folder."""
        return [] if self._folder is None else condition_files.found(self._folder, self._encoder)

    def _read_folder(self, folder: Path) -> dict[str, np.ndarray]:
        """Returns the conditions in a folder's files; skips files that are broken or of another encoder."""
        rows: dict[str, np.ndarray] = {}
        for _ in range(8):
            with contextlib.suppress(FileNotFoundError):  # another process has just merged a file
                for path in condition_files.found(folder, self._encoder):
                    rows.update(self._read(path))
                break
        return rows

    def _read(self, path: Path) -> dict[str, np.ndarray]:
        try:
            return condition_files.read(path, self._encoder)
        except condition_files.BrokenFileError as error:
            warnings.warn(f"{path} is broken, so its conditions are computed again ({error}).", stacklevel=4)
            if path.parent == self._folder:
                path.unlink(missing_ok=True)
            return {}

    def _keep(self, captions: list[str]) -> None:
        """Writes the conditions of captions, and merges this process's files when there are enough."""
        if self._folder is None:
            return
        path = self._write(self._folder, captions)
        for level in itertools.count():
            if level == len(self._written):
                self._written.append([])
            self._written[level].append((path, captions))
            if len(self._written[level]) < MERGED:
                return
            parts, self._written[level] = self._written[level], []
            captions = [caption for _, of_part in parts for caption in of_part]
            path = self._write(self._folder, captions)
            for part, _ in parts:
                with contextlib.suppress(OSError):
                    part.unlink()

    def _write(self, folder: Path, captions: list[str]) -> Path:
        rows = np.stack([self._rows[caption] for caption in captions])
        return condition_files.write(folder, self._encoder, captions, rows)
