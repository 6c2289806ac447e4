"""Figures of a benchmark: datasets side by side, values over the SNR, bars per class."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from audiosep_jax.evals.evaluate import ClassResult, EvaluationResult, ExampleResult
from audiosep_jax.evals.figures import BAR, DPI, class_figure
from audiosep_jax.evals.statistics import Interval
from audiosep_jax.evals.suites.report import TITLES
from audiosep_jax.evals.suites.results import BenchmarkResult, DatasetResult, Group, KindResult, RowResult
from audiosep_jax.utils.atomic import replacing

# More bars than this are not read: then the best and the worst classes are drawn.
SHOWN_CLASSES = 50


def write_figures(result: BenchmarkResult, folder: Path) -> None:
    """Writes summary.png, and per dataset classes-NAME.png and snr-NAME.png where it has classes or SNRs.

    Raises:
      AudioSepError: a file cannot be written.
    """
    measured = [dataset for dataset in result.datasets if dataset.kinds]
    if measured:
        _summary(result, measured, folder / "summary.png")
    for dataset in measured:
        kind = dataset.kinds[0]
        if kind.classes:
            class_figure(_class_values(result, dataset, kind), folder / f"classes-{dataset.name}.png")
        if kind.snrs:
            _snr_figure(result, dataset, kind.snrs, folder / f"snr-{dataset.name}.png")


def _summary(result: BenchmarkResult, datasets: Sequence[DatasetResult], path: Path) -> None:
    from matplotlib.figure import Figure

    bars = [(dataset, kind) for dataset in datasets for kind in dataset.kinds]
    names = [
        f"{dataset.name}, {kind.kind}" if len(dataset.kinds) > 1 else dataset.name for dataset, kind in bars
    ]
    across = min(4, len(result.metrics))
    down = -(-len(result.metrics) // across)
    figure = Figure(
        figsize=(1.2 + 3.2 * across, down * (1.4 + 0.4 * len(bars)) + 0.5), layout="constrained", dpi=DPI
    )
    axes = figure.subplots(down, across, squeeze=False, sharey=True)
    rows = np.arange(len(bars))
    for axis, metric in zip(axes.flat, result.metrics, strict=False):
        values = [kind.values[metric] for _, kind in bars]
        axis.barh(rows, [value.mean for value in values], height=0.6, color=BAR, alpha=0.75, zorder=2)
        axis.errorbar(
            [value.mean for value in values],
            rows,
            xerr=_whiskers(values),
            fmt="none",
            ecolor="black",
            capsize=4,
            zorder=3,
        )
        axis.set_xlabel(_titled(metric))
        axis.set_yticks(rows, names)
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="x", color="#dddddd", linewidth=0.8, zorder=0)
    for axis in axes.flat[len(result.metrics) :]:
        axis.set_visible(False)
    axes[0, 0].invert_yaxis()
    figure.suptitle(f"{result.model} on {result.suite}, with 95 % intervals", fontsize=11)
    with replacing(path) as temporary:
        figure.savefig(temporary)


def _snr_figure(result: BenchmarkResult, dataset: DatasetResult, groups: Sequence[Group], path: Path) -> None:
    from matplotlib.figure import Figure

    across = min(4, len(result.metrics))
    down = -(-len(result.metrics) // across)
    figure = Figure(figsize=(1 + 3.2 * across, 3 * down + 0.5), layout="constrained", dpi=DPI)
    axes = figure.subplots(down, across, squeeze=False, sharex=True)
    ratios = [float(group.name) for group in groups]
    for axis, metric in zip(axes.flat, result.metrics, strict=False):
        values = [group.values[metric] for group in groups]
        means = [value.mean for value in values]
        axis.errorbar(ratios, means, yerr=_whiskers(values), color=BAR, marker="o", markersize=4, capsize=3)
        axis.set_ylabel(_titled(metric))
        axis.set_xlabel("SNR of the mixture (dB)")
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(color="#dddddd", linewidth=0.8, zorder=0)
    for axis in axes.flat[len(result.metrics) :]:
        axis.set_visible(False)
    figure.suptitle(f"{result.model} on {dataset.name}: means with 95 % intervals", fontsize=11)
    with replacing(path) as temporary:
        figure.savefig(temporary)


def _class_values(result: BenchmarkResult, dataset: DatasetResult, kind: KindResult) -> EvaluationResult:
    """Returns the classes in the form that the figure of `audiosep evaluate` draws."""
    ranked = sorted(kind.classes, key=lambda group: group.values["sdri_db"].mean)
    name = dataset.name
    if len(ranked) > SHOWN_CLASSES:
        half = SHOWN_CLASSES // 2
        name += f": the {half} best and the {half} worst of {len(ranked)} classes"
        ranked = [*ranked[:half], *ranked[-half:]]
    shown = {group.name for group in ranked}
    rows = [row for row in result.rows if (row.dataset, row.kind) == (dataset.name, kind.kind)]
    everything = Group(name="all", count=kind.count, values=kind.values)
    return EvaluationResult(
        set_name=name,
        model=result.model,
        sample_rate_hz=result.measure_hz,
        model_sample_rate_hz=result.model_hz,
        seconds=0.0,
        examples=tuple(_example(index, row) for index, row in enumerate(rows) if row.label in shown),
        absent=(),
        overall=_class_result(everything),
        classes=tuple(map(_class_result, ranked)),
        absent_attenuation_db=None,
    )


def _class_result(group: Group) -> ClassResult:
    values = {name: group.values[name] for name in ("sdri_db", "sdr_db", "si_sdr_db", "si_sdri_db")}
    return ClassResult(label=group.name, count=group.count, **values)


def _example(index: int, row: RowResult) -> ExampleResult:
    values = {name: row.metrics[name] for name in ("sdr_db", "sdri_db", "si_sdr_db", "si_sdri_db")}
    return ExampleResult(
        index=index,
        target_file=row.source,
        target_label=row.label,
        interferer_file="",
        interferer_label="",
        query=row.query,
        **values,
    )


def _whiskers(values: Sequence[Interval]) -> np.ndarray:
    # A resampled median may never reach the median itself: no whisker is shorter than nothing.
    return np.maximum([[value.mean - value.low, value.high - value.mean] for value in values], 0).T


def _titled(metric: str) -> str:
    return f"{TITLES[metric]} (dB)" if metric.endswith("_db") else TITLES[metric]
