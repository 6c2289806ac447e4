"""Figures of a sweep: every cell with its interval and seeds, and the validation curves."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from audiosep_jax.evals.statistics import CrossedMean
from audiosep_jax.sweeps.results import SweepResult
from audiosep_jax.utils.atomic import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DPI = 150
_POINT = "#4477aa"
_SIGNIFICANT = "#cc3311"
_SEED = "#666666"


def cells_figure(result: SweepResult, path: Path) -> None:
    """Writes SDRi per cell with its 95 % interval and a dot per seed; beside it, the differences.

    Args:
      result: of a sweep; the first cell is on top.
      path: image file; the suffix chooses the format.

    Raises:
      AudioSepError: the file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 1.9 + 0.45 * len(result.cells)), layout="constrained", dpi=_DPI)
    left, right = figure.subplots(1, 2, sharey=True)
    for row, cell in enumerate(result.cells):
        _interval(left, row, cell.sdri_db, _POINT)
        left.scatter(cell.seed_means_db, [row + 0.22] * len(cell.seeds), s=12, color=_SEED, zorder=3)
        if cell.difference is not None:
            colour = _SIGNIFICANT if cell.difference.significant else _POINT
            _interval(right, row, cell.difference.sdri_db, colour)
    left.set_yticks(range(len(result.cells)), [cell.cell for cell in result.cells])
    left.set_ylim(len(result.cells) - 0.5, -0.5)
    left.set_xlabel("SDRi (dB): 95 % interval; grey: one seed")
    right.set_xlabel(f"difference to {result.compared_with} (dB); red: significant")
    right.axvline(0, color="black", linewidth=0.8, zorder=1)
    for axis in (left, right):
        _clean(axis, grid="x")
    figure.suptitle(f"sweep {result.name} on {result.evaluation_set}", fontsize=11)
    with replacing(path) as temporary:
        figure.savefig(temporary)


def curves_figure(result: SweepResult, path: Path) -> bool:
    """Writes validation SDRi while training: a thin line per seed, a thick one for the seeds' mean.

    Args:
      result: of a sweep.
      path: image file; the suffix chooses the format.

    Returns:
      False, and no file is written, where no run was validated.

    Raises:
      AudioSepError: the file cannot be written.
    """
    from matplotlib.figure import Figure

    if not any(cell.curves for cell in result.cells):
        return False
    figure = Figure(figsize=(8, 4.6), layout="constrained", dpi=_DPI)
    axis = figure.subplots()
    for index, cell in enumerate(result.cells):
        colour = f"C{index % 10}"
        for curve in cell.curves:
            axis.plot(curve.steps, curve.sdri_db, color=colour, linewidth=0.7, alpha=0.45)
        # A point of the mean needs every seed: a run that was stopped and changed may lack some.
        common = sorted(set.intersection(*(set(curve.steps) for curve in cell.curves))) if cell.curves else []
        values = [dict(zip(curve.steps, curve.sdri_db, strict=True)) for curve in cell.curves]
        means = [float(np.mean([one[step] for one in values])) for step in common]
        axis.plot(common, means, color=colour, linewidth=2, marker="o", markersize=3.5, label=cell.cell)
    axis.set_xlabel("step")
    axis.set_ylabel("validation SDRi (dB)")
    axis.set_title(f"sweep {result.name}: thick = mean over seeds, thin = one seed", fontsize=11)
    axis.legend(fontsize=9, framealpha=0.95)
    _clean(axis, grid="y")
    with replacing(path) as temporary:
        figure.savefig(temporary)
    return True


def _interval(axis: "Axes", row: int, one: CrossedMean, colour: str) -> None:
    if not np.isnan(one.low):
        axis.plot([one.low, one.high], [row, row], color=colour, linewidth=2.2, zorder=2)
    axis.scatter([one.mean], [row], s=34, color=colour, zorder=4)


def _clean(axis: "Axes", *, grid: str) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="x" if grid == "x" else "y", color="#dddddd", linewidth=0.8, zorder=0)
    axis.set_axisbelow(True)
