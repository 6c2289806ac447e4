"""`audiosep sweep`: trains and measures all cells of a sweep, each with several seeds."""

import dataclasses
import functools
import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro

from audiosep_jax.errors import UsageError, listed, shown


@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepArgs:
    """Train and measure all cells of a sweep, each with several seeds.

    Finished runs are skipped, and interrupted ones resume. `audiosep sweep report DIR` writes the table.
    """

    sweep: Annotated[Path, tyro.conf.Positional]
    """Python file that defines SWEEP, such as experiments/ablations/film.py."""
    workdir: Path
    """Folder of the sweep, with a folder per cell and seed. All machines of a cluster must reach it."""
    dry_run: bool = False
    """Print the cells and their cost, and run nothing."""
    jobs: int | None = None
    """Runs at a time; by default one, and with --executor ray as many as the cluster has room for."""
    executor: Literal["local", "ray"] = "local"
    """Run in processes of this machine, or on a Ray cluster (its address is in RAY_ADDRESS)."""
    resources: tuple[str, ...] = ()
    """Resources of a run on a Ray cluster, as NAME=NUMBER: CPU=8 GPU=1 TPU=4. By default one CPU."""
    seeds: tuple[int, ...] = ()
    """Seeds to train with; by default those of the sweep."""
    cells: tuple[str, ...] = ()
    """Cells to run; by default all. The first cell of the sweep always runs."""
    set: tuple[str, ...] = ()
    """Changes of the base config, as FIELD=VALUE with a JSON value: train.steps=100."""
    evaluation_set: str | None = None
    """JSON file of the mixtures to measure on; by default that of the sweep."""
    root: str | None = None
    """Folder that the evaluation set's file names start from; by default that of the sweep."""


def run(args: SweepArgs) -> int:
    """Runs the sweep; returns 1 if a run failed."""
    from audiosep_jax.config.loading import apply_overrides
    from audiosep_jax.sweeps.definition import Sweep, load_sweep

    if args.jobs is not None and args.jobs < 1:
        raise UsageError(f"--jobs is {args.jobs}: give a positive number.")
    if args.resources and args.executor != "ray":
        raise UsageError("--resources needs a cluster: add --executor ray.")
    resources = _resources(args.resources)
    sweep: Sweep = load_sweep(args.sweep)
    unknown = [cell for cell in args.cells if cell not in sweep.cells]
    if unknown:
        raise UsageError(
            f"--cells: sweep {sweep.name} has no cell {shown(unknown[0])}; it has {listed(sweep.cells)}."
        )
    wanted = {sweep.compared_with, *(args.cells or sweep.cells)}
    sweep = dataclasses.replace(
        sweep,
        base=apply_overrides(sweep.base, args.set),
        cells={cell: changes for cell, changes in sweep.cells.items() if cell in wanted},
        seeds=args.seeds or sweep.seeds,
        evaluation=dataclasses.replace(
            sweep.evaluation,
            evaluation_set=args.evaluation_set or sweep.evaluation.evaluation_set,
            root=args.root or sweep.evaluation.root,
        ),
    )
    if args.dry_run:
        from rich.console import Console

        from audiosep_jax.sweeps.console import print_whole
        from audiosep_jax.sweeps.cost import cost_table, costs_of

        say = functools.partial(print, file=sys.stderr, flush=True)
        costs = costs_of(sweep, args.workdir.absolute(), say=say)
        print_whole(Console(), cost_table(sweep, costs))
        return 0
    from audiosep_jax.sweeps.runner import Execution, run_sweep

    execution = Execution(executor=args.executor, at_once=args.jobs or 0, resources=resources)
    done = run_sweep(sweep, args.workdir, execution=execution, say=lambda line: print(line, flush=True))
    failed = [one for one in done if one.outcome not in ("finished", "skipped")]
    if failed:
        print(f"audiosep: {len(failed)} of {len(done)} runs failed:", file=sys.stderr)
        for one in failed:
            print(f"  {one.name}: {one.reason or one.outcome}; see {one.log}", file=sys.stderr)
        return 1
    print(f"all {len(done)} runs are finished; `audiosep sweep report {args.workdir}` writes the table")
    return 0


def _resources(texts: tuple[str, ...]) -> dict[str, float]:
    resources = {}
    for text in texts:
        name, _, number = text.partition("=")
        try:
            amount = float(number)
        except ValueError:
            amount = -1.0
        if not name or not 0 < amount < float("inf"):
            raise UsageError(f"--resources {text!r}: write NAME=NUMBER, such as GPU=1.")
        resources[name] = amount
    return resources
