"""Compares the results of two models on the same mixtures by a paired bootstrap."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from audiosep_jax.errors import EvaluationError, printable, shown
from audiosep_jax.evals.statistics import Pooling
from audiosep_jax.evals.suites.results import RESULT_FILE, Gain, RowResult, paired_gains

_KEY = ("dataset", "id", "kind", "query")

# The SDR of the same mixture, read and resampled on two machines, differs by far less.
TOLERANCE_DB = 1e-3


@dataclasses.dataclass(frozen=True, kw_only=True)
class ComparedRow:
    """Gains of the second model with one kind of query on one dataset, by metric."""

    dataset: str
    kind: str
    count: int
    gains: dict[str, Gain]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """Gains of the model `after` over `before` in the metrics of both, per dataset and kind of query."""

    suite: str
    before: str
    after: str
    metrics: tuple[str, ...]
    rows: tuple[ComparedRow, ...]


def compare(before: Path, after: Path) -> Comparison:
    """Compares two folders of results by a paired bootstrap.

    Raises:
      EvaluationError: a folder holds no finished result, or the results differ in suite, mixtures or
        queries.
    """
    values = [_load(folder) for folder in (before, after)]
    suites = [one["suite"] for one in values]
    if suites[0] != suites[1]:
        raise EvaluationError(
            f"{printable(before)} is of the suite {suites[0]} and {printable(after)} of {suites[1]}: "
            "compare results of one suite."
        )
    keys = [{tuple(row[name] for name in _KEY) for row in one["rows"]} for one in values]
    if keys[0] != keys[1]:
        raise EvaluationError(
            f"{printable(before)} and {printable(after)} were not measured on the same mixtures and queries: "
            f"{len(keys[0] - keys[1])} are only in the first and {len(keys[1] - keys[0])} only in the "
            "second; measure both on the same files."
        )
    _check_files(before, after, *values)
    metrics = tuple(name for name in values[0]["metrics"] if name in values[1]["metrics"])
    rows = [[RowResult(**row) for row in one["rows"]] for one in values]
    poolings: dict[str, Pooling] = {one["name"]: one["pooling"] for one in values[0]["datasets"]}
    compared = []
    for dataset, kind in dict.fromkeys((row.dataset, row.kind) for row in rows[0]):
        pair = [[row for row in one if (row.dataset, row.kind) == (dataset, kind)] for one in rows]
        gains = paired_gains(pair[0], pair[1], poolings[dataset], metrics=metrics)
        compared.append(ComparedRow(dataset=dataset, kind=kind, count=len(pair[0]), gains=gains))
    names = [one["model"] for one in values]
    if names[0] == names[1]:
        names = [f"{name} ({printable(folder)})" for name, folder in zip(names, (before, after), strict=True)]
    return Comparison(suite=suites[0], before=names[0], after=names[1], metrics=metrics, rows=tuple(compared))


def _check_files(before: Path, after: Path, first: dict[str, Any], second: dict[str, Any]) -> None:
    """Checks that mixtures of one name are the same sound in both results."""
    digests = [one.get("digest", "") for one in (first, second)]
    others = _mixtures(second)
    differing = [
        key
        for key, (ratio, sdr_db) in _mixtures(first).items()
        if ratio != others[key][0] or abs(sdr_db - others[key][1]) > TOLERANCE_DB
    ]
    if differing:
        dataset, name = differing[0]
        what = f"{len(differing)} mixtures, such as {shown(name)} of {shown(dataset)}, differ in SDR"
    elif all(digests) and digests[0] != digests[1]:
        what = "the digests of their corpora differ"
    else:
        return
    raise EvaluationError(
        f"{printable(before)} and {printable(after)} were not measured on the same files: {what}; measure "
        "both on one copy."
    )


def _mixtures(result: dict[str, Any]) -> dict[tuple[str, str], tuple[float | None, float]]:
    """By mixture: its SNR from the list, and its own SDR, which does not depend on the model."""
    return {
        (row["dataset"], row["id"]): (
            row["snr_db"],
            float(row["metrics"]["sdr_db"] - row["metrics"]["sdri_db"]),
        )
        for row in result["rows"]
    }


def _load(folder: Path) -> dict[str, Any]:
    path = folder / RESULT_FILE
    try:
        values = json.loads(path.read_text("utf-8"))
        for name in ("suite", "model", "metrics", "datasets"):
            values[name]
        for row in values["rows"]:
            RowResult(**row)
        _mixtures(values)
    except FileNotFoundError:
        raise EvaluationError(
            f"{printable(folder)} holds no {RESULT_FILE}: give the --out of a finished benchmark."
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EvaluationError(f"{printable(path)} is damaged: measure again.") from error
    return values
