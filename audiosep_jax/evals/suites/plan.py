"""Which mixtures of a suite are measured, with which queries, and which are separated together."""

import csv
import dataclasses
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from audiosep_jax.errors import AudioSepError, EvaluationError, listed, printable, shown
from audiosep_jax.evals.suites.definitions import Dataset, Suite
from audiosep_jax.evals.suites.mixtures import Mixture, Query, Row

DEFAULT_KIND = "re-annotated"
SHOWN_FILES = 5


def chosen_datasets(suite: Suite, names: Sequence[str]) -> tuple[Dataset, ...]:
    """Returns the named datasets in the suite's order, all of them where no name is given.

    Raises:
      EvaluationError: the suite has no dataset of a name.
    """
    known = [dataset.name for dataset in suite.datasets]
    for name in names:
        if name not in known:
            raise EvaluationError(
                f"the suite {suite.name} has no dataset {name!r}: choose among {listed(known)}."
            )
    return tuple(dataset for dataset in suite.datasets if not names or dataset.name in names)


def list_mixtures(
    datasets: Sequence[Dataset],
    *,
    metadata: Path,
    root: Path,
    queries: Path | None = None,
    kinds: Sequence[str] = (),
) -> list[Mixture]:
    """Reads the lists, in the order of datasets and rows.

    `queries` is a CSV file of further queries: only the mixtures in it are kept, and their own queries come
    before those of the file. `kinds` are the kinds of query to keep, in this order; without any, the first
    query of each mixture is kept, or all of them with `queries`.

    Raises:
      EvaluationError: a list or the file cannot be used, or a mixture has no query of a kind.
    """
    mixtures = [mixture for dataset in datasets for mixture in dataset.read(metadata, root)]
    seen = set()
    for mixture in mixtures:
        if (mixture.dataset, mixture.id) in seen:
            raise EvaluationError(
                f"the list of {mixture.dataset} names the mixture {shown(mixture.id)} twice: give the "
                "benchmark's own list."
            )
        seen.add((mixture.dataset, mixture.id))
    if queries is not None:
        mixtures = _with_queries(mixtures, queries)
    if kinds:
        return [_only(mixture, kinds) for mixture in mixtures]
    if queries is not None:
        return mixtures
    return [dataclasses.replace(mixture, queries=mixture.queries[:1]) for mixture in mixtures]


def _only(mixture: Mixture, kinds: Sequence[str]) -> Mixture:
    kept = []
    for kind in dict.fromkeys(kinds):
        found = [query for query in mixture.queries if query.kind == kind]
        if not found:
            has = listed(dict.fromkeys(query.kind for query in mixture.queries))
            raise EvaluationError(
                f"mixture {shown(mixture.id)} of {mixture.dataset} has no query of the kind {kind!r}: it has "
                f"{has}; every mixture needs a query of every kind."
            )
        kept += found
    return dataclasses.replace(mixture, queries=tuple(kept))


def _with_queries(mixtures: Sequence[Mixture], path: Path) -> list[Mixture]:
    """Adds the queries of a file with the columns id, query, and optionally kind and dataset."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            columns, rows = list(reader.fieldnames or []), list(reader)
    except (OSError, ValueError, csv.Error) as error:
        raise EvaluationError(
            f"{printable(path)} is not a readable CSV file of queries: {shown(error)}."
        ) from error
    if not {"id", "query"} <= set(columns) <= {"id", "query", "kind", "dataset"}:
        raise EvaluationError(
            f"{printable(path)} has the columns {shown(listed(columns))}: id and query are needed, kind "
            "and dataset are optional."
        )
    names = {mixture.dataset for mixture in mixtures}
    if len(names) > 1 and "dataset" not in columns:
        raise EvaluationError(
            f"{printable(path)} has no column dataset, but {listed(sorted(names))} are read: add the column, "
            "or choose one dataset with --datasets."
        )
    by_id = {(mixture.dataset, mixture.id): mixture for mixture in mixtures}
    added: dict[tuple[str, str], list[Query]] = {}
    for number, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise EvaluationError(
                f"{printable(path)} has {'more' if None in row else 'fewer'} cells than columns in row "
                f"{number}: quote cells that hold commas."
            )
        key = (row.get("dataset") or next(iter(names)), row["id"])
        if key not in by_id:
            raise EvaluationError(
                f"{printable(path)} names the mixture {shown(key[1])} of {shown(key[0])} in row {number}, "
                "which is in no list that is read."
            )
        if not row["query"].strip():
            raise EvaluationError(f"{printable(path)} has an empty query in row {number}: write a sentence.")
        query = Query(kind=row.get("kind") or DEFAULT_KIND, text=row["query"])
        others = [*by_id[key].queries, *added.get(key, [])]
        if query.kind in {other.kind for other in others}:
            raise EvaluationError(
                f"{printable(path)} gives mixture {shown(key[1])} a second query of the kind "
                f"{query.kind!r} in row {number}: give each query of a mixture a kind of its own."
            )
        added.setdefault(key, []).append(query)
    if not added:
        raise EvaluationError(f"{printable(path)} holds no query: add a row per mixture.")
    return [
        dataclasses.replace(mixture, queries=(*mixture.queries, *added[key]))
        for key, mixture in by_id.items()
        if key in added
    ]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inventory:
    """Which of the listed mixtures can be measured.

    Attributes:
      samples: length of each usable mixture at the model's rate, in the order of the list; 0 where the
        header lacks it.
      stamps: sizes and times of the files of each usable mixture, which change when a file is replaced.
      unusable: the reason for each of the others.
    """

    samples: dict[Mixture, int]
    stamps: dict[Mixture, str]
    unusable: dict[Mixture, str]


def take_inventory(
    mixtures: Sequence[Mixture], *, samples_of: Callable[[Mixture], int], workers: int
) -> Inventory:
    """Opens every file, in threads, to find missing ones before anything is computed.

    `samples_of` returns a mixture's length at the model's rate from the headers, and raises AudioSepError
    where the mixture cannot be used.
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
    """Checks that every listed mixture can be used.

    Raises:
      EvaluationError: some cannot; the text has their number and the first five reasons.
    """
    if not inventory.unusable:
        return
    total = len(inventory.samples) + len(inventory.unusable)
    reasons = [why.rstrip(".") for why in list(inventory.unusable.values())[:SHOWN_FILES]]
    more = len(inventory.unusable) - len(reasons)
    raise EvaluationError(
        f"{len(inventory.unusable)} of {total} mixtures cannot be used ({'; '.join(reasons)}"
        f"{f'; and {more} more' if more else ''}): check --root, or add --allow-missing to measure the "
        "others."
    )


def plan(
    samples: dict[Mixture, int], *, batch_size: int, row_samples: Callable[[int], int]
) -> list[tuple[Row, ...]]:
    """Groups the rows into batches whose mixtures share a compiled program.

    `samples` is each mixture's length at the model's rate, and `row_samples` the length of the rows that hold
    it. The same list gives the same batches. The queries of a mixture are neighbours, so that it is read
    once. Short batches come last among those of their length.
    """
    by_length: dict[int, list[Row]] = {}
    for mixture, size in samples.items():
        length = row_samples(size) if size else 0
        by_length.setdefault(length, []).extend(Row(mixture, query) for query in mixture.queries)
    return [
        tuple(rows[start : start + batch_size])
        for _, rows in sorted(by_length.items())
        for start in range(0, len(rows), batch_size)
    ]
