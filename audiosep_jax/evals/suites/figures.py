"""Figures of a suite's result: datasets side by side, values over the SNR, bars per class."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from audiosep_jax.evals.figures import ClassBar, draw_bars
from audiosep_jax.evals.statistics import Interval
from audiosep_jax.evals.suites.report import TITLES
from audiosep_jax.evals.suites.results import BenchmarkResult, DatasetResult
from audiosep_jax.plotting.style import BLUE, FILE_DPI, clean, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# More bars than this are unreadable: of more classes, the best and the worst are drawn.
SHOWN_CLASSES = 50


def write_figures(result: BenchmarkResult, folder: Path) -> None:
    """Writes summary.png, and per dataset classes-NAME.png and snr-NAME.png where it has classes or SNRs.

    Raises:
      StorageError: a file cannot be written.
    """
    measured = [dataset for dataset in result.datasets if dataset.kinds]
    if measured:
        save(_draw_summary(result, measured), folder / "summary.png")
    for dataset in measured:
        if dataset.kinds[0].classes:
            save(_draw_classes(result, dataset), folder / f"classes-{dataset.name}.png")
        if dataset.kinds[0].snrs:
            save(_draw_snrs(result, dataset), folder / f"snr-{dataset.name}.png")


def _draw_summary(result: BenchmarkResult, datasets: Sequence[DatasetResult]) -> "Figure":
    bars = [(dataset, kind) for dataset in datasets for kind in dataset.kinds]
    names = [
        f"{dataset.name}, {kind.kind}" if len(dataset.kinds) > 1 else dataset.name for dataset, kind in bars
    ]
    figure, axes = _panels(result, extra=1.2, height=1.4 + 0.4 * len(bars), sharey=True)
    rows = np.arange(len(bars))
    for axis, metric in zip(axes, result.metrics, strict=True):
        values = [kind.values[metric] for _, kind in bars]
        means = [value.mean for value in values]
        axis.barh(rows, means, height=0.6, color=BLUE, alpha=0.75, zorder=2)
        axis.errorbar(means, rows, xerr=_whiskers(values), fmt="none", ecolor="black", capsize=4, zorder=3)
        axis.set_xlabel(_titled(metric))
        axis.set_yticks(rows, names)
        clean(axis, grid="x")
    axes[0].invert_yaxis()
    figure.suptitle(f"{result.model} on {result.suite}, with 95 % intervals", fontsize=11)
    return figure


def _draw_snrs(result: BenchmarkResult, dataset: DatasetResult) -> "Figure":
    groups = dataset.kinds[0].snrs
    figure, axes = _panels(result, extra=1.0, height=3.0, sharex=True)
    ratios = [float(group.name) for group in groups]
    for axis, metric in zip(axes, result.metrics, strict=True):
        values = [group.values[metric] for group in groups]
        means = [value.mean for value in values]
        axis.errorbar(ratios, means, yerr=_whiskers(values), color=BLUE, marker="o", markersize=4, capsize=3)
        axis.set_ylabel(_titled(metric))
        axis.set_xlabel("SNR of the mixture (dB)")
        clean(axis)
    figure.suptitle(f"{result.model} on {dataset.name}: means with 95 % intervals", fontsize=11)
    return figure


def _draw_classes(result: BenchmarkResult, dataset: DatasetResult) -> "Figure":
    kind, name = dataset.kinds[0], dataset.name
    ranked = sorted(kind.classes, key=lambda group: group.values["sdri_db"].mean)
    if len(ranked) > SHOWN_CLASSES:
        half = SHOWN_CLASSES // 2
        name += f": the {half} best and the {half} worst of {len(ranked)} classes"
        ranked = [*ranked[:half], *ranked[-half:]]
    rows = [row for row in result.rows if (row.dataset, row.kind) == (dataset.name, kind.kind)]
    bars = [
        ClassBar(
            label=group.name,
            count=group.count,
            sdri_db=group.values["sdri_db"],
            values_db=[row.metrics["sdri_db"] for row in rows if row.label == group.name],
        )
        for group in ranked
    ]
    return draw_bars(bars, mean_db=kind.values["sdri_db"].mean, name=f"{result.model or 'model'} on {name}")


def _panels(
    result: BenchmarkResult, *, extra: float, height: float, sharex: bool = False, sharey: bool = False
) -> "tuple[Figure, list[Axes]]":
    """Returns a figure with a panel per metric, four in a row, each of a height in inches."""
    from matplotlib.figure import Figure

    count = len(result.metrics)
    across = min(4, count)
    down = -(-count // across)
    size = (extra + 3.2 * across, height * down + 0.5)
    figure = Figure(figsize=size, layout="constrained", dpi=FILE_DPI)
    axes = list(figure.subplots(down, across, squeeze=False, sharex=sharex, sharey=sharey).flat)
    for axis in axes[count:]:
        axis.set_visible(False)
    return figure, axes[:count]


def _whiskers(values: Sequence[Interval]) -> np.ndarray:
    # Draws of a median may all lie on one side of it: a whisker is never negative.
    return np.maximum([[value.mean - value.low, value.high - value.mean] for value in values], 0).T


def _titled(metric: str) -> str:
    return f"{TITLES[metric]} (dB)" if metric.endswith("_db") else TITLES[metric]
