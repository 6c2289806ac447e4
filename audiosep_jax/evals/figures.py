"""Figures of an evaluation result: SDRi per class, and its distribution over mixtures."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from audiosep_jax.evals.evaluate import ClassResult, EvaluationResult
from audiosep_jax.evals.statistics import Interval
from audiosep_jax.plotting.style import BLUE, FILE_DPI, GREY, RED, clean, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassBar:
    """One class of a figure: its mean SDRi in dB with an interval, and the values of its mixtures."""

    label: str
    count: int
    sdri_db: Interval
    values_db: Sequence[float]


def class_figure(result: EvaluationResult, path: str | Path) -> None:
    """Writes `draw_classes` as an image; the suffix of `path` selects the format.

    Raises:
      ValueError: the result has no class.
      StorageError: the file cannot be written.
    """
    save(draw_classes(result), path)


def draw_classes(result: EvaluationResult, *, most: int | None = None) -> "Figure":
    """Draws a bar per class: mean SDRi with its 95 % interval and every mixture as a dot, the best on top.

    Of more than `most` classes the best and the worst are drawn, with a gap that states how many are left
    out. The figure belongs to no global state of matplotlib.

    Raises:
      ValueError: the result has no class.
    """
    if result.overall is None:
        raise ValueError("a figure per class needs at least one class.")
    return draw_bars(
        _bars(result, result.classes), mean_db=result.overall.sdri_db.mean, name=result.title, most=most
    )


def kind_figure(result: EvaluationResult, path: str | Path) -> None:
    """Writes `draw_kinds` as an image; the suffix of `path` selects the format.

    Raises:
      ValueError: the result has no kind.
      StorageError: the file cannot be written.
    """
    save(draw_kinds(result), path)


def draw_kinds(result: EvaluationResult) -> "Figure":
    """Draws `draw_classes` with kinds of sound for classes.

    Raises:
      ValueError: the result has no kind.
    """
    if result.overall is None or not result.kinds:
        raise ValueError("a figure per kind needs at least one kind.")
    return draw_bars(
        _bars(result, result.kinds),
        mean_db=result.overall.sdri_db.mean,
        name=result.title,
        per="kind of target",
    )


def _bars(result: EvaluationResult, groups: Sequence[ClassResult]) -> list[ClassBar]:
    values: dict[str, list[float]] = {}
    for row in result.examples:
        values.setdefault(row.kind if groups is result.kinds else row.target_label, []).append(row.sdri_db)
    return [
        ClassBar(label=one.label, count=one.count, sdri_db=one.sdri_db, values_db=values[one.label])
        for one in groups
    ]


def draw_bars(
    bars: Sequence[ClassBar],
    *,
    mean_db: float,
    name: str,
    most: int | None = None,
    per: str = "target class",
) -> "Figure":
    """Draws the figure of `draw_classes` for at least one class; `mean_db` of all mixtures is a line."""
    from matplotlib.figure import Figure

    bars = sorted(bars, key=lambda one: one.sdri_db.mean)
    left_out = 0 if most is None else max(len(bars) - most, 0)
    worst = len(bars) if not left_out else (len(bars) - left_out) // 2
    bars = [*bars[:worst], *bars[worst + left_out :]]
    # An empty row stands for the classes that are left out.
    rows = np.arange(len(bars)) + (np.arange(len(bars)) >= worst)
    figure = Figure(figsize=(8, 1.6 + 0.42 * (rows[-1] + 1)), layout="constrained", dpi=FILE_DPI)
    axis = figure.subplots()
    means = np.array([one.sdri_db.mean for one in bars])
    ends = np.array([(one.sdri_db.low, one.sdri_db.high) for one in bars])
    axis.barh(rows, means, height=0.62, color=BLUE, alpha=0.75, zorder=2)
    jitter = np.random.default_rng(0)
    for row, one in zip(rows, bars, strict=True):
        heights = row + jitter.uniform(-0.2, 0.2, len(one.values_db))
        axis.scatter(one.values_db, heights, s=9, color="black", alpha=0.35, linewidths=0, zorder=3)
    spread = np.abs(ends.T - means)
    # The bootstrap of a single recording has no spread, which is no certainty: no whisker is drawn.
    spread = np.where(spread.any(axis=0), spread, np.nan)
    axis.errorbar(means, rows, xerr=spread, fmt="none", ecolor="black", elinewidth=1.6, capsize=4, zorder=4)
    axis.axvline(
        mean_db,
        color=RED,
        linestyle="--",
        linewidth=1.4,
        zorder=5,
        label=f"mean of all mixtures: {mean_db:.2f} dB",
    )
    if left_out:
        axis.text(
            *(0.5, worst, f"… {left_out} classes lie between …"),
            transform=axis.get_yaxis_transform(),
            ha="center",
            va="center",
            color=GREY,
            backgroundcolor="white",
            zorder=6,
        )
    axis.set_ylim(-0.8, rows[-1] + 0.8)
    names = [f"{_shortened(one.label.replace('_', ' '))} ({one.count})" for one in bars]
    axis.set_yticks(rows, names, parse_math=False)
    axis.set_xlabel("SDRi (dB): bar = mean, whisker = 95 % interval, dot = mixture")
    axis.set_title(f"SDR improvement per {per}\n{name}", fontsize=11, parse_math=False)
    axis.legend(loc="lower right", fontsize=9, framealpha=0.95)
    clean(axis, grid="x")
    return figure


def distribution_figure(result: EvaluationResult, path: str | Path) -> None:
    """Writes `draw_distribution` as an image; the suffix of `path` selects the format.

    Raises:
      StorageError: the file cannot be written.
    """
    save(draw_distribution(result), path)


def draw_distribution(result: EvaluationResult) -> "Figure":
    """Draws a histogram of SDRi and, where there are absent sounds, one of their attenuation."""
    from matplotlib.figure import Figure

    panels = []
    if result.overall is not None:
        values = np.array([example.sdri_db for example in result.examples])
        panels.append(("SDRi (dB)", "query names the target", values))
    if result.absent:
        values = np.array([row.attenuation_db for row in result.absent])
        panels.append(("estimate below mixture (dB)", "query names neither sound", values))
    figure = Figure(figsize=(5.2 * len(panels), 3.8), layout="constrained", dpi=FILE_DPI)
    for axis, (label, title, values) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
    ):
        _histogram(axis, values)
        axis.set_xlabel(label)
        axis.set_ylabel("mixtures")
        axis.set_title(f"{title} (n = {len(values)})", fontsize=11)
    figure.suptitle(result.title, fontsize=12, fontweight="bold", parse_math=False)
    return figure


def _histogram(axis: "Axes", values: np.ndarray) -> None:
    from matplotlib.ticker import MaxNLocator

    low, high = np.floor(values.min()), np.ceil(values.max())
    width = max(1.0, np.ceil((high - low) / 40))
    axis.hist(values, bins=list(np.arange(low, high + 2 * width, width)), color=BLUE, alpha=0.8, zorder=2)
    mean, median = float(values.mean()), float(np.median(values))
    axis.axvline(mean, color=RED, linestyle="--", linewidth=1.6, zorder=3, label=f"mean {mean:.2f} dB")
    axis.axvline(
        median, color="black", linestyle=":", linewidth=1.6, zorder=3, label=f"median {median:.2f} dB"
    )
    axis.axvline(0, color=GREY, linewidth=0.8, zorder=1)
    axis.yaxis.set_major_locator(MaxNLocator(integer=True))
    axis.legend(fontsize=9, framealpha=0.95)
    clean(axis, grid="y")


def _shortened(label: str, longest: int = 40) -> str:
    return label if len(label) <= longest else f"{label[: longest - 1]}…"
