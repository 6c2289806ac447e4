"""`audiosep sweep report`: writes the table of a sweep, with intervals, figures and significance."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro


@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepReportArgs:
    """Compare the cells of a sweep: means over seeds and mixtures, 95 % intervals, corrected p-values.

    Unfinished runs are listed and left out. Writes report.md, report.json, cells.png, curves.png.
    """

    workdir: Annotated[Path, tyro.conf.Positional]
    """The --workdir of `audiosep sweep`."""
    out: Path | None = None
    """Folder for the report; by default the folder `report` of the work directory."""


def run(args: SweepReportArgs) -> int:
    """Writes the report and prints its table."""
    from rich.console import Console

    from audiosep_jax.sweeps.console import print_whole
    from audiosep_jax.sweeps.figures import cells_figure, curves_figure
    from audiosep_jax.sweeps.report import console_table, write_report
    from audiosep_jax.sweeps.results import read_results
    from audiosep_jax.utils.atomic import make_folder

    result = read_results(args.workdir)
    out = make_folder(args.out or args.workdir / "report")
    figures = ["cells.png"]
    cells_figure(result, out / "cells.png")
    if curves_figure(result, out / "curves.png"):
        figures.append("curves.png")
    write_report(result, out, figures=figures)
    console = Console()
    print_whole(console, console_table(result))
    console.print(f"report: {out}", markup=False, highlight=False, soft_wrap=True)
    return 0
