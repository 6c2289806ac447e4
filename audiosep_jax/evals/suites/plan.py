"""What is there, what is missing, and which mixtures are separated together."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from audiosep_jax.errors import AudioSepError, EvaluationError, printable
from audiosep_jax.evals.suites.mixtures import Mixture, Query

SHOWN_FILES = 5


@dataclasses.dataclass(frozen=True)
class Row:
    """One query of one mixture: a row of a batch, and of the results.

    Attributes:
      mixture: that is separated.
      query: that is asked.
    """

    mixture: Mixture
    query: Query

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells this row from the others of a suite."""
        return self.mixture.dataset, self.mixture.id, self.query.kind


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inventory:
    """Which of the listed mixtures can be measured.

    Attributes:
      samples: length of each usable mixture at the model's rate, in the order of the list; 0 where the
        header does not say.
      stamps: by which files that are exchanged are known, of each usable mixture.
      unusable: why each of the others cannot be used.
    """

    samples: dict[Mixture, int]
    stamps: dict[Mixture, str]
    unusable: dict[Mixture, str]


def take_inventory(
    mixtures: Sequence[Mixture], *, samples_of: Callable[[Mixture], int], workers: int
) -> Inventory:
    """Opens every file, in threads: what is missing is known before anything is computed.

    Args:
      mixtures: the list.
      samples_of: length at the model's rate by the headers; raises AudioSepError for what cannot be used.
      workers: threads.
    """

    def look(mixture: Mixture) -> tuple[int, str] | str:
        stamps = []
        for path in (mixture.target, mixture.other):
            try:
                stat = path.stat()
            except OSError as error:
                gone = isinstance(error, FileNotFoundError)
                return (
                    f"{printable(path)} {'does not exist' if gone else f'cannot be read: {error.strerror}'}"
                )
            stamps.append(f"{stat.st_size} {stat.st_mtime_ns}")
        try:
            return samples_of(mixture), ", ".join(stamps)
        except AudioSepError as error:
            return str(error)

    with ThreadPoolExecutor(workers) as pool:
        found = dict(zip(mixtures, pool.map(look, mixtures), strict=True))
    return Inventory(
        samples={mixture: one[0] for mixture, one in found.items() if not isinstance(one, str)},
        stamps={mixture: one[1] for mixture, one in found.items() if not isinstance(one, str)},
        unusable={mixture: why for mixture, why in found.items() if isinstance(why, str)},
    )


def refuse_unusable(inventory: Inventory) -> None:
    """Raises where a listed mixture cannot be used.

    Raises:
      AudioSepError: says how many of how many, and names the first.
    """
    if not inventory.unusable:
        return
    listed = len(inventory.samples) + len(inventory.unusable)
    reasons = [why.rstrip(".") for why in list(inventory.unusable.values())[:SHOWN_FILES]]
    more = len(inventory.unusable) - len(reasons)
    raise EvaluationError(
        f"{len(inventory.unusable)} of {listed} mixtures cannot be used ({'; '.join(reasons)}"
        f"{f'; and {more} more' if more else ''}): check --root, or give --allow-missing to go on with what "
        "is there."
    )


def plan(
    samples: dict[Mixture, int], *, batch_size: int, row_samples: Callable[[int], int]
) -> list[tuple[Row, ...]]:
    """Groups the rows into batches whose mixtures share a compiled program.

    The same list gives the same batches, and the queries of a mixture stand side by side, so that it is read
    once. Short batches come last among those of their length.

    Args:
      samples: length of each mixture at the model's rate.
      batch_size: rows of a batch.
      row_samples: length of the rows of a batch that a mixture of a length fits.
    """
    by_length: dict[int, list[Row]] = {}
    for mixture, size in samples.items():
        length = row_samples(size) if size else 0
        by_length.setdefault(length, []).extend(Row(mixture, query) for query in mixture.queries)
    return [batch for _, rows in sorted(by_length.items()) for batch in _parts(rows, batch_size)]


def _parts(rows: Sequence[Row], size: int) -> Iterable[tuple[Row, ...]]:
    return (tuple(rows[start : start + size]) for start in range(0, len(rows), size))
