"""Which clips each file of a dataset holds: a function of the rows alone."""

import dataclasses
import itertools
from collections.abc import Sequence

from tensorflow_datasets.core import hashing

from audiosep_jax.errors import DatasetError
from data_pipelines.mixtures.clips import ClipRow

MIN_CLIPS = 1024
"""Rows of a shard, where its split does not need more of them."""

MAX_SHARDS = 512
"""Of a split: readers keep all of them open, and many systems allow a process 1,024 files."""


@dataclasses.dataclass(frozen=True, slots=True)
class Shard:
    """Rows whose clips end up in one file.

    Attributes:
      split: the tfds split.
      number: place among the shards of its split.
      rows: in the order of the records.
    """

    split: str
    number: int
    rows: Sequence[ClipRow]

    @property
    def name(self) -> str:
        """What tells it from the others."""
        return f"{self.split}-{self.number:05d}"


def plan(rows: Sequence[ClipRow], *, clips_per_shard: int | None = None) -> list[Shard]:
    """Returns the shards of a dataset, split after split.

    The rows of a split stand in the order of a hash of their file, as tfds shuffles: each record's place is
    known before the first is made, so shards can be made in any order and nothing has to be sorted.

    Args:
      rows: all clips.
      clips_per_shard: rows of a shard; None takes `MIN_CLIPS`, or more where a split would have more than
        `MAX_SHARDS`.

    Raises:
      AudioSepError: a file stands twice in one split.
    """
    shards = []
    by_split = sorted(rows, key=lambda row: row.split)
    for split, of_split in itertools.groupby(by_split, key=lambda row: row.split):
        hasher = hashing.Hasher(split)
        keyed = sorted(((hasher.hash_key(row.file), row) for row in of_split), key=lambda pair: pair[0])
        for (key, row), (following, _) in itertools.pairwise(keyed):
            if key == following:
                raise DatasetError(
                    f"The clip {row.file!r} stands twice in the split {split!r}: remove one of its lines."
                )
        size = clips_per_shard or max(MIN_CLIPS, -(-len(keyed) // MAX_SHARDS))
        ordered = [row for _, row in keyed]
        shards += [
            Shard(split, number, ordered[start : start + size])
            for number, start in enumerate(range(0, len(ordered), size))
        ]
    return shards
