"""Pictures of training runs with every recorded point: loss, validation, and the course of the training."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from audiosep_jax.plotting.style import DPI, clean, line_styles, shortened
from audiosep_jax.reports.run_record import Curve, RunRecord, smoothed, smoothing_window

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH = 8.0
_LEGEND_LETTERS = 48
_SMALLEST_WAIT = 5.0  # per cent: the least upper end of the axis of data wait
VALIDATION = {"validation/sdri_db": "SDRi (dB)", "validation/si_sdri_db": "SI-SDRi (dB)"}
# Field of the record, label of the axis, factor, whether the axis is logarithmic.
COURSE = (
    ("learning_rate", "learning rate", 1.0, False),
    ("gradient_norm", "gradient norm", 1.0, True),
    ("data_wait_share", "data wait (% of time)", 100.0, False),
    ("examples_per_second", "examples / s", 1.0, False),
)


def window_of(run: RunRecord, smooth: int | None) -> int:
    """Returns how many neighbouring records of a run are averaged, an odd number; by default a twentieth."""
    return smoothing_window(len(run.curve("loss"))) if smooth is None else 2 * (smooth // 2) + 1


def draw_loss(runs: Sequence[RunRecord], *, smooth: int | None = None) -> "Figure":
    """Draws the loss of every run: recorded points, their moving mean, spikes and skipped steps."""
    figure, (axis,) = _axes(1, height=4.4)
    ceiling = _ceiling(runs)
    marked = {"spike": False, "skipped step": False}
    for run, (colour, dash, _) in zip(runs, line_styles(len(runs)), strict=True):
        loss = run.curve("loss")
        window = window_of(run, smooth)
        _points(axis, loss, colour)
        label = _name(run) + (f" (mean of {window} records)" if window > 1 else "")
        axis.plot(
            loss.steps, smoothed(loss.values, window), color=colour, linestyle=dash, lw=1.8, label=label
        )
        spikes = np.array([pair for pair in run.spikes if np.isfinite(pair[1])]).reshape(-1, 2)
        if len(spikes):
            marked["spike"] = True
            spikes[:, 1] = np.minimum(spikes[:, 1], ceiling)
            axis.plot(*spikes.T, "v", ms=7, mfc="none", mec=colour, mew=1.6, zorder=4)
        if run.skipped:
            marked["skipped step"] = True
            place = axis.get_xaxis_transform()  # at the lower edge: a skipped step has no loss
            axis.plot(
                run.skipped, [0.02] * len(run.skipped), "x", color=colour, ms=7, mew=1.8, transform=place
            )
    for name, marker in (("spike", "v"), ("skipped step", "x")):
        if marked[name]:
            axis.plot([], [], marker, mfc="none", color="#444444", ms=7, mew=1.6, label=name)
    axis.set_ylabel("loss")
    axis.set_xlabel("steps taken")
    _legend(axis)
    return figure


def draw_validation(runs: Sequence[RunRecord]) -> "Figure":
    """Draws SDRi and SI-SDRi of every run that was validated; a ring marks the best SDRi."""
    shown = [name for name in VALIDATION if any(len(run.curve(name)) for run in runs)]
    figure, axes = _axes(len(shown), height=3.2)
    for axis, name in zip(axes, shown, strict=True):
        for run, (colour, dash, marker) in zip(runs, line_styles(len(runs)), strict=True):
            curve = run.curve(name)
            if not len(curve):
                continue
            axis.plot(
                *(curve.steps, curve.values),
                color=colour,
                linestyle=dash,
                marker=marker,
                ms=4.5,
                lw=1.6,
                label=_name(run),
            )
            if name == "validation/sdri_db" and (best := best_point(curve)) is not None:
                axis.plot(*best, "o", ms=13, mfc="none", mec=colour, mew=1.6)
        axis.set_ylabel(VALIDATION[name])
    axes[-1].set_xlabel("steps taken")
    _legend(axes[0])
    return figure


def draw_course(runs: Sequence[RunRecord], *, smooth: int | None = None) -> "Figure":
    """Draws learning rate (never smoothed), gradient norm, data wait and examples per second of every run."""
    from matplotlib.ticker import LogFormatter

    shown = [row for row in COURSE if any(len(run.curve(row[0])) for run in runs)]
    figure, axes = _axes(len(shown), height=2.1)
    for axis, (name, label, scale, logarithmic) in zip(axes, shown, strict=True):
        for run, (colour, dash, _) in zip(runs, line_styles(len(runs)), strict=True):
            curve = run.curve(name)
            values = np.where(curve.values > 0, curve.values, np.nan) if logarithmic else scale * curve.values
            window = 1 if name == "learning_rate" else window_of(run, smooth)
            _points(axis, Curve(steps=curve.steps, values=values), colour)
            line = smoothed(values, window)
            axis.plot(curve.steps, line, color=colour, linestyle=dash, lw=1.6, label=_name(run))
        if logarithmic and any((run.curve(name).values > 0).any() for run in runs):
            axis.set_yscale("log")
            for which in (axis.yaxis.set_major_formatter, axis.yaxis.set_minor_formatter):
                which(LogFormatter(minor_thresholds=(1.5, 0.6)))
        elif not logarithmic:
            # Starting at 0, an axis shows a small share as small.
            highest = _SMALLEST_WAIT if name == "data_wait_share" else 0.0
            axis.set_ylim(0, max(axis.get_ylim()[1], highest) or 1.0)
        axis.set_ylabel(label)
    axes[-1].set_xlabel("steps taken")
    _legend(axes[0])
    return figure


def best_point(curve: Curve) -> tuple[float, float] | None:
    """Returns (steps, value) of the highest finite value; None without a finite value."""
    finite = np.isfinite(curve.values)
    if not finite.any():
        return None
    place = int(np.argmax(np.where(finite, curve.values, -np.inf)))
    return float(curve.steps[place]), float(curve.values[place])


def drawings(runs: Sequence[RunRecord], *, smooth: int | None) -> dict[str, Callable[[], "Figure"]]:
    """Returns `{file name: function that draws it}` for the fields that the runs have recorded."""
    made: dict[str, Callable[[], Figure]] = {}
    if any(len(run.curve("loss")) for run in runs):
        made["loss.png"] = lambda: draw_loss(runs, smooth=smooth)
    if any(len(run.curve(name)) for run in runs for name in VALIDATION):
        made["validation.png"] = lambda: draw_validation(runs)
    if any(len(run.curve(row[0])) for run in runs for row in COURSE):
        made["course.png"] = lambda: draw_course(runs, smooth=smooth)
    return made


def _axes(down: int, *, height: float) -> tuple["Figure", list["Axes"]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, height * down + 0.6), layout="constrained", dpi=DPI)
    axes = list(figure.subplots(down, 1, sharex=True, squeeze=False)[:, 0])
    for axis in axes:
        clean(axis)
    return figure, axes


def _ceiling(runs: Sequence[RunRecord]) -> float:
    """Returns the highest loss at which a spike is drawn, so that one spike does not flatten all curves."""
    losses = np.concatenate([run.curve("loss").values for run in runs])
    losses = losses[np.isfinite(losses)]
    return float(losses.max() + np.ptp(losses)) if len(losses) > 1 else np.inf


def _points(axis: "Axes", curve: Curve, colour: str) -> None:
    axis.plot(curve.steps, curve.values, "o", color=colour, ms=3.5, alpha=0.45, mew=0, label="_points")


def _name(run: RunRecord) -> str:
    # The space in front: matplotlib drops labels that begin with an underscore from the legend.
    return f" {shortened(run.name, _LEGEND_LETTERS)}"


def _legend(axis: "Axes") -> None:
    """Puts the legend above an axis, where it covers no point."""
    handles, labels = axis.get_legend_handles_labels()
    columns = 1 if len(handles) < 3 else 2
    found = axis.legend(
        handles,
        labels,
        loc="lower left",
        bbox_to_anchor=(0, 1.01, 1, 0.1),
        mode=None,
        ncols=columns,
        fontsize=9,
        frameon=False,
    )
    for one in found.get_texts():
        one.set_parse_math(False)
