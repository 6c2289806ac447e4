"""Figures of an evaluation result: SDRi per class, and its distribution over mixtures."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from audiosep_jax.evals.evaluate import EvaluationResult
from audiosep_jax.utils.atomic import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 150
BAR = "#4477aa"
MEAN = "#cc3311"
GREY = "#666666"


def class_figure(result: EvaluationResult, path: str | Path) -> None:
    """Writes `draw_classes` as an image; the suffix of `path` chooses the format.

    Raises:
      ValueError: the result has no class.
      AudioSepError: the file cannot be written.
    """
    figure = draw_classes(result)
    with replacing(path) as temporary:
        figure.savefig(temporary)


def draw_classes(result: EvaluationResult, *, most: int | None = None) -> "Figure":
    """Draws a bar per class: mean SDRi with its 95 % interval and every mixture as a dot, the best on top.

    Args:
      result: of a set with at least one mixture whose query names its target.
      most: bars at most; where there are more classes, the best and the worst are drawn, with a gap between
        them that tells how many are left out. None draws all.

    Returns:
      A matplotlib figure that belongs to no global state.

    Raises:
      ValueError: the result has no class.
    """
    from matplotlib.figure import Figure

    if result.overall is None:
        raise ValueError("a figure per class needs at least one class.")
    classes = sorted(result.classes, key=lambda one: one.sdri_db.mean)
    left_out = 0 if most is None else max(len(classes) - most, 0)
    worst = len(classes) if not left_out else (len(classes) - left_out) // 2
    classes = [*classes[:worst], *classes[worst + left_out :]]
    # A row stays empty for those that are left out.
    rows = np.arange(len(classes)) + (np.arange(len(classes)) >= worst)
    figure = Figure(figsize=(8, 1.6 + 0.42 * (rows[-1] + 1)), layout="constrained", dpi=DPI)
    axis = figure.subplots()
    means = np.array([one.sdri_db.mean for one in classes])
    ends = np.array([(one.sdri_db.low, one.sdri_db.high) for one in classes])
    axis.barh(rows, means, height=0.62, color=BAR, alpha=0.75, zorder=2)
    jitter = np.random.default_rng(0)
    for row, one in zip(rows, classes, strict=True):
        values = [example.sdri_db for example in result.examples if example.target_label == one.label]
        heights = row + jitter.uniform(-0.2, 0.2, len(values))
        axis.scatter(values, heights, s=9, color="black", alpha=0.35, linewidths=0, zorder=3)
    spread = np.abs(ends.T - means)
    # One recording alone has no interval: its draws are all the same, which says nothing of certainty.
    spread = np.where(spread.any(axis=0), spread, np.nan)
    axis.errorbar(means, rows, xerr=spread, fmt="none", ecolor="black", elinewidth=1.6, capsize=4, zorder=4)
    axis.axvline(
        result.overall.sdri_db.mean,
        color=MEAN,
        linestyle="--",
        linewidth=1.4,
        zorder=5,
        label=f"mean of all mixtures: {result.overall.sdri_db.mean:.2f} dB",
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
    names = [f"{_shortened(one.label.replace('_', ' '))} ({one.count})" for one in classes]
    axis.set_yticks(rows, names, parse_math=False)
    axis.set_xlabel("SDRi (dB): bar = mean, whisker = 95 % interval, dot = mixture")
    title = f"SDR improvement per target class\n{_name(result)}"
    axis.set_title(title, fontsize=11, parse_math=False)
    axis.legend(loc="lower right", fontsize=9, framealpha=0.95)
    _clean(axis, grid="x")
    return figure


def distribution_figure(result: EvaluationResult, path: str | Path) -> None:
    """Writes `draw_distribution` as an image; the suffix of `path` chooses the format.

    Raises:
      AudioSepError: the file cannot be written.
    """
    figure = draw_distribution(result)
    with replacing(path) as temporary:
        figure.savefig(temporary)


def draw_distribution(result: EvaluationResult) -> "Figure":
    """Draws a histogram of SDRi, and beside it one of the attenuation of absent sounds where there are any.

    Args:
      result: of an evaluation of at least one mixture.

    Returns:
      A matplotlib figure that belongs to no global state.
    """
    from matplotlib.figure import Figure

    panels = []
    if result.overall is not None:
        values = np.array([example.sdri_db for example in result.examples])
        panels.append(("SDRi (dB)", "query names the target", values))
    if result.absent:
        values = np.array([row.attenuation_db for row in result.absent])
        panels.append(("estimate below mixture (dB)", "query names neither sound", values))
    figure = Figure(figsize=(5.2 * len(panels), 3.8), layout="constrained", dpi=DPI)
    for axis, (label, title, values) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
    ):
        _histogram(axis, values)
        axis.set_xlabel(label)
        axis.set_ylabel("mixtures")
        axis.set_title(f"{title} (n = {len(values)})", fontsize=11)
    figure.suptitle(_name(result), fontsize=12, fontweight="bold", parse_math=False)
    return figure


def _histogram(axis: "Axes", values: np.ndarray) -> None:
    from matplotlib.ticker import MaxNLocator

    low, high = np.floor(values.min()), np.ceil(values.max())
    width = max(1.0, np.ceil((high - low) / 40))
    axis.hist(values, bins=list(np.arange(low, high + 2 * width, width)), color=BAR, alpha=0.8, zorder=2)
    mean, median = float(values.mean()), float(np.median(values))
    axis.axvline(mean, color=MEAN, linestyle="--", linewidth=1.6, zorder=3, label=f"mean {mean:.2f} dB")
    axis.axvline(
        median, color="black", linestyle=":", linewidth=1.6, zorder=3, label=f"median {median:.2f} dB"
    )
    axis.axvline(0, color=GREY, linewidth=0.8, zorder=1)
    axis.yaxis.set_major_locator(MaxNLocator(integer=True))
    axis.legend(fontsize=9, framealpha=0.95)
    _clean(axis, grid="y")


def _clean(axis: "Axes", *, grid: str) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="x" if grid == "x" else "y", color="#dddddd", linewidth=0.8, zorder=0)
    axis.set_axisbelow(True)


def _name(result: EvaluationResult) -> str:
    return f"{result.model or 'model'} on {result.set_name}"


def _shortened(label: str, longest: int = 40) -> str:
    return label if len(label) <= longest else f"{label[: longest - 1]}…"
