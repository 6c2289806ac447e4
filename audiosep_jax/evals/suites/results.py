"""The result of a suite: numbers per dataset and kind of query, per class, and per SNR."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from audiosep_jax.evals.statistics import (
    Interval,
    Pooling,
    bootstrap_interval,
    bootstrap_pools,
    p_value,
    percentile_interval,
    pool,
)
from audiosep_jax.evals.suites.definitions import Dataset, Suite
from audiosep_jax.evals.suites.journal import Key
from audiosep_jax.evals.suites.mixtures import Mixture, Row

RESULT_FILE = "result.json"

Values = dict[str, Interval]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Group:
    """Means over the mixtures of one class or one SNR; the values by metric, with 95 % intervals."""

    name: str
    count: int
    values: Values


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gain:
    """A difference on the same mixtures, between two kinds of query or two models."""

    difference: Interval
    p_value: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class KindResult:
    """The result with one kind of query; `values` are pooled as the dataset says, with 95 % intervals.

    Attributes:
      classes: means per class, in the order of names; none where the dataset has no classes.
      snrs: means per SNR, ascending; none where the SNRs are unknown.
      over_first: gains over the first kind, by metric; none for the first kind.
    """

    kind: str
    count: int
    values: Values
    classes: tuple[Group, ...]
    snrs: tuple[Group, ...]
    over_first: dict[str, Gain]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DatasetResult:
    """The result on a dataset, of whose `listed` mixtures some were measured.

    Attributes:
      unusable: id and reason of each of the others.
      kinds: a result per kind of query, the dataset's own first; none where nothing was measured.
    """

    name: str
    pooling: Pooling
    listed: int
    measured: int
    unusable: tuple[tuple[str, str], ...]
    kinds: tuple[KindResult, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowResult:
    """One query of one mixture."""

    dataset: str
    id: str
    kind: str
    query: str
    label: str
    source: str
    snr_db: float | None
    metrics: dict[str, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchmarkResult:
    """The result of a model on a suite, in the order of its datasets and lists.

    Attributes:
      checkpoint: fingerprint of model and query encoder.
      digest: of all files from the manifest; "" without one.
      model_hz: rate of the model.
      measure_hz: rate at which estimates were measured.
    """

    suite: str
    model: str
    checkpoint: str
    digest: str = ""
    model_hz: int
    measure_hz: int
    metrics: tuple[str, ...]
    datasets: tuple[DatasetResult, ...]
    rows: tuple[RowResult, ...]


def summarise(
    suite: Suite,
    datasets: Sequence[Dataset],
    mixtures: Sequence[Mixture],
    values: Mapping[Key, Mapping[str, float]],
    unusable: Mapping[Mixture, str],
    *,
    metrics: Sequence[str],
    model: str,
    checkpoint: str,
    model_hz: int,
) -> BenchmarkResult:
    """Turns measured values into a suite's result; `unusable` says why a mixture has none."""
    rows = [
        RowResult(
            dataset=mixture.dataset,
            id=mixture.id,
            kind=query.kind,
            query=query.text,
            label=mixture.label,
            source=mixture.source,
            snr_db=mixture.snr_db,
            metrics={name: values[key][name] for name in metrics},
        )
        for mixture in mixtures
        if mixture not in unusable
        for query in mixture.queries
        for key in [Row(mixture, query).key]
    ]
    return BenchmarkResult(
        suite=suite.name,
        model=model,
        checkpoint=checkpoint,
        digest=suite.digest,
        model_hz=model_hz,
        measure_hz=suite.measure_hz,
        metrics=tuple(metrics),
        datasets=tuple(
            _dataset_result(
                dataset,
                [mixture for mixture in mixtures if mixture.dataset == dataset.name],
                [row for row in rows if row.dataset == dataset.name],
                unusable,
                metrics=metrics,
            )
            for dataset in datasets
        ),
        rows=tuple(rows),
    )


def table_of(rows: Iterable[RowResult], metrics: Sequence[str]) -> np.ndarray:
    """Returns the values as `[metrics, rows]`."""
    return np.array([[row.metrics[name] for row in rows] for name in metrics])


def _dataset_result(
    dataset: Dataset,
    mixtures: Sequence[Mixture],
    rows: Sequence[RowResult],
    unusable: Mapping[Mixture, str],
    *,
    metrics: Sequence[str],
) -> DatasetResult:
    by_kind: dict[str, list[RowResult]] = {}
    for row in rows:
        by_kind.setdefault(row.kind, []).append(row)
    first = next(iter(by_kind.values()), [])
    left_out = tuple((mixture.id, unusable[mixture]) for mixture in mixtures if mixture in unusable)
    return DatasetResult(
        name=dataset.name,
        pooling=dataset.pooling,
        listed=len(mixtures),
        measured=len(mixtures) - len(left_out),
        unusable=left_out,
        kinds=tuple(
            _kind_result(kind, own, first, dataset.pooling, metrics=metrics) for kind, own in by_kind.items()
        ),
    )


def _kind_result(
    kind: str, rows: list[RowResult], first: list[RowResult], pooling: Pooling, *, metrics: Sequence[str]
) -> KindResult:
    values = table_of(rows, metrics)
    classes = [row.label for row in rows]
    draws = bootstrap_pools(values, classes=classes, sources=[row.source for row in rows], pooling=pooling)
    labels = sorted({row.label for row in rows} - {""})
    ratios = sorted({row.snr_db for row in rows if row.snr_db is not None})
    return KindResult(
        kind=kind,
        count=len(rows),
        values={
            name: percentile_interval(pool(own, classes=classes, pooling=pooling), own_draws)
            for name, own, own_draws in zip(metrics, values, draws, strict=True)
        },
        classes=tuple(
            _group(label, [row for row in rows if row.label == label], metrics=metrics) for label in labels
        ),
        snrs=tuple(
            _group(f"{ratio:g}", [row for row in rows if row.snr_db == ratio], metrics=metrics)
            for ratio in ratios
        ),
        over_first={} if rows is first else paired_gains(first, rows, pooling, metrics=metrics),
    )


def paired_gains(
    before: Sequence[RowResult], after: Sequence[RowResult], pooling: Pooling, *, metrics: Sequence[str]
) -> dict[str, Gain]:
    """Returns the gains of `after` over `before` by a paired bootstrap over the mixtures of both.

    Both are pooled over the same draws of mixtures; the interval is that of the pools' differences.
    """
    by_id = {row.id: row for row in before}
    pairs = [(by_id[row.id], row) for row in after if row.id in by_id]
    if not pairs:
        return {}
    old, new = zip(*pairs, strict=True)
    common = {
        "classes": [row.label for row in old],
        "sources": [row.source for row in old],
        "pooling": pooling,
    }
    tables = np.concatenate([table_of(old, metrics), table_of(new, metrics)])
    draws = bootstrap_pools(tables, **common)
    gains = {}
    for place, name in enumerate(metrics):
        ends = [
            pool(tables[row], classes=common["classes"], pooling=pooling)
            for row in (place, place + len(metrics))
        ]
        differences = draws[place + len(metrics)] - draws[place]
        gains[name] = Gain(
            difference=percentile_interval(ends[1] - ends[0], differences), p_value=p_value(differences)
        )
    return gains


def _group(name: str, rows: Sequence[RowResult], *, metrics: Sequence[str]) -> Group:
    sources = [row.source for row in rows]
    return Group(
        name=name,
        count=len(rows),
        values={
            metric: bootstrap_interval(own, groups=sources)
            for metric, own in zip(metrics, table_of(rows, metrics), strict=True)
        },
    )
