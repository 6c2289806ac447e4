"""Assigns the clips of a dataset to its record files; depends on the rows alone."""

import dataclasses
import itertools
from collections.abc import Sequence

from tensorflow_datasets.core import hashing

from audiosep_jax.errors import DatasetError
from data_pipelines.mixtures.clips import ClipRow

MIN_CLIPS = 1024
"""Default number of rows of a shard."""

MAX_SHARDS = 512
"""Most shards of a split: readers keep all of them open, and many systems allow a process 1,024 files."""


@dataclasses.dataclass(frozen=True, slots=True)
class Shard:
    """Rows of a split, in the order of the records, whose clips are stored in its file of this number."""

    split: str
    number: int
    rows: Sequence[ClipRow]

    @property
    def name(self) -> str:
        """Unique name within the dataset."""
        return f"{self.split}-{self.number:05d}"


def plan(rows: Sequence[ClipRow], *, clips_per_shard: int | None = None) -> list[Shard]:
    """Returns the shards of a dataset, split after split.

    The rows of a split are ordered by a hash of their file, as tfds shuffles. So the place of each record is
    known before the first is made, and shards can be made in any order. Without `clips_per_shard` a shard has
    `MIN_CLIPS` rows, or more if a split would otherwise have more than `MAX_SHARDS` shards.

    Raises:
      DatasetError: a file is listed twice in one split.
    """
    shards = []
    by_split = sorted(rows, key=lambda row: row.split)
    for split, of_split in itertools.groupby(by_split, key=lambda row: row.split):
        hasher = hashing.Hasher(split)
        keyed = sorted(((hasher.hash_key(row.file), row) for row in of_split), key=lambda pair: pair[0])
        for (key, row), (following, _) in itertools.pairwise(keyed):
            if key == following:
                raise DatasetError(
                    f"The clip {row.file!r} is listed twice in the split {split!r}: remove one of its lines."
                )
        size = clips_per_shard or max(MIN_CLIPS, -(-len(keyed) // MAX_SHARDS))
        ordered = [row for _, row in keyed]
        shards += [
            Shard(split, number, ordered[start : start + size])
            for number, start in enumerate(range(0, len(ordered), size))
        ]
    return shards
