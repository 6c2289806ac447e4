"""Figures of a sweep: cells with their intervals and seeds, and validation curves."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from audiosep_jax.evals.statistics import CrossedMean
from audiosep_jax.plotting.style import BLUE, FILE_DPI, GREY, RED, clean, save
from audiosep_jax.sweeps.results import SweepResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def cells_figure(result: SweepResult, path: Path) -> None:
    """Writes SDRi per cell with its 95 % interval and a dot per seed; beside it, the differences.

    Raises:
      StorageError: the file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 1.9 + 0.45 * len(result.cells)), layout="constrained", dpi=FILE_DPI)
    left, right = figure.subplots(1, 2, sharey=True)
    for row, cell in enumerate(result.cells):
        _interval(left, row, cell.sdri_db, BLUE)
        left.scatter(cell.seed_means_db, [row + 0.22] * len(cell.seeds), s=12, color=GREY, zorder=3)
        if cell.difference is not None:
            colour = RED if cell.difference.significant else BLUE
            _interval(right, row, cell.difference.sdri_db, colour)
    left.set_yticks(range(len(result.cells)), [cell.cell for cell in result.cells])
    left.set_ylim(len(result.cells) - 0.5, -0.5)
    left.set_xlabel("SDRi (dB): 95 % interval; grey: one seed")
    right.set_xlabel(f"difference to {result.compared_with} (dB); red: significant")
    right.axvline(0, color="black", linewidth=0.8, zorder=1)
    for axis in (left, right):
        clean(axis, grid="x")
    figure.suptitle(f"sweep {result.name} on {result.evaluation_set}", fontsize=11)
    save(figure, path)


def curves_figure(result: SweepResult, path: Path) -> bool:
    """Writes validation SDRi while training: a thin line per seed, a thick one for the seeds' mean.

    Returns whether a run was validated; otherwise no file is written.

    Raises:
      StorageError: the file cannot be written.
    """
    from matplotlib.figure import Figure

    if not any(cell.curves for cell in result.cells):
        return False
    figure = Figure(figsize=(8, 4.6), layout="constrained", dpi=FILE_DPI)
    axis = figure.subplots()
    for index, cell in enumerate(result.cells):
        colour = f"C{index % 10}"
        for curve in cell.curves:
            axis.plot(curve.steps, curve.sdri_db, color=colour, linewidth=0.7, alpha=0.45)
        # A point of the mean needs all seeds: runs that resumed with another config may lack steps.
        common = sorted(set.intersection(*(set(curve.steps) for curve in cell.curves))) if cell.curves else []
        values = [dict(zip(curve.steps, curve.sdri_db, strict=True)) for curve in cell.curves]
        means = [float(np.mean([one[step] for one in values])) for step in common]
        axis.plot(common, means, color=colour, linewidth=2, marker="o", markersize=3.5, label=cell.cell)
    axis.set_xlabel("step")
    axis.set_ylabel("validation SDRi (dB)")
    axis.set_title(f"sweep {result.name}: thick = mean over seeds, thin = one seed", fontsize=11)
    axis.legend(fontsize=9, framealpha=0.95)
    clean(axis, grid="y")
    save(figure, path)
    return True


def _interval(axis: "Axes", row: int, one: CrossedMean, colour: str) -> None:
    if not np.isnan(one.low):
        axis.plot([one.low, one.high], [row, row], color=colour, linewidth=2.2, zorder=2)
    axis.scatter([one.mean], [row], s=34, color=colour, zorder=4)
