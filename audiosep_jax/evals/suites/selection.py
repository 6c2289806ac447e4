"""Which mixtures of a suite are measured, and with which queries."""

import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from audiosep_jax.errors import EvaluationError, printable, shown
from audiosep_jax.evals.suites.definitions import Dataset, Suite
from audiosep_jax.evals.suites.mixtures import Mixture, Query

DEFAULT_KIND = "re-annotated"


def chosen_datasets(suite: Suite, names: Sequence[str]) -> tuple[Dataset, ...]:
    """Returns the datasets of those names, or all, in the suite's order.

    Raises:
      AudioSepError: the suite has no dataset of a name.
    """
    known = [dataset.name for dataset in suite.datasets]
    for name in names:
        if name not in known:
            raise EvaluationError(
                f"the suite {suite.name} has no dataset {name!r}: choose among {', '.join(known)}."
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

    Args:
      datasets: to read.
      metadata: folder of their lists.
      root: folder of their sounds.
      queries: a CSV file of further queries; then only the mixtures that it names are kept, with their own
        queries of every kind before those of the file.
      kinds: of queries that are kept, in this order; none keeps the first of each mixture, or with
        `queries` all.

    Raises:
      AudioSepError: a list or the file cannot be used, or no mixture has a query of a kind.
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
            has = ", ".join(dict.fromkeys(query.kind for query in mixture.queries))
            raise EvaluationError(
                f"mixture {shown(mixture.id)} of {mixture.dataset} has no query of the kind {kind!r}: it has "
                f"{has}; comparing kinds needs all of them for every mixture."
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
            f"{printable(path)} has the columns {shown(', '.join(columns))}: id and query are needed, kind "
            "and dataset may be there."
        )
    names = {mixture.dataset for mixture in mixtures}
    if len(names) > 1 and "dataset" not in columns:
        raise EvaluationError(
            f"{printable(path)} has no column dataset, but {', '.join(sorted(names))} are read: add it, or "
            "choose one with --datasets."
        )
    by_id = {(mixture.dataset, mixture.id): mixture for mixture in mixtures}
    added: dict[tuple[str, str], list[Query]] = {}
    for number, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise EvaluationError(
                f"{printable(path)} has another number of cells than columns in row {number}: quote cells "
                "that hold commas."
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
