"""The cost of a sweep before it runs: parameters, examples, arithmetic, and measured time."""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
from rich.markup import escape
from rich.table import Table

from audiosep_jax.config import ExecutionConfig, ExperimentConfig, MixtureConfig, TrainConfig
from audiosep_jax.errors import listed
from audiosep_jax.models import separator
from audiosep_jax.sweeps.definition import Sweep
from audiosep_jax.sweeps.runs import Run, runs_of
from audiosep_jax.sweeps.workdir import RunState
from audiosep_jax.train import mesh as meshes
from audiosep_jax.train import state as states
from audiosep_jax.train.optimizer import make_optimizer
from audiosep_jax.train.step import batch_like, make_train_step


@dataclasses.dataclass(frozen=True, kw_only=True)
class CellCost:
    """The cost of one cell of a sweep, of whose runs some are trained.

    Attributes:
      examples: mixtures that one run trains on.
      flops: floating-point operations of one run's train steps, as XLA counts them before it optimises:
        without validation, evaluation and recomputation by `execution.remat`.
      train_seconds: mean time of the trained runs, with starting and compiling; None without one.
    """

    cell: str
    parameters: int
    steps: int
    examples: int
    flops: float
    trained: int
    runs: int
    train_seconds: float | None


def costs_of(sweep: Sweep, workdir: Path, *, say: Callable[[str], None] = print) -> list[CellCost]:
    """Returns the cost of each cell of a sweep; nothing is compiled or written.

    Times are those of the trained runs in the work directory. `say` gets a line before a train step is
    counted, which takes seconds.

    Raises:
      ConfigError: a cell's config is wrong.
    """
    runs = runs_of(sweep, workdir)
    of_cell = {cell: [run for run in runs if run.cell == cell] for cell in sweep.cells}
    steps = {cell: _decisive(some[0].config) for cell, some in of_cell.items()}
    different = list(dict.fromkeys(steps.values()))
    for number, step in enumerate(different, start=1):
        alike = listed(cell for cell in steps if steps[cell] == step)
        say(
            f"counting the operations of train step {number} of {len(different)} (some seconds each): {alike}"
        )
        _step_flops(step)
    return [_cell_cost(cell, some) for cell, some in of_cell.items()]


def _cell_cost(cell: str, runs: Sequence[Run]) -> CellCost:
    config = runs[0].config
    states_of_runs = [RunState.read(run.folder) for run in runs]
    seconds = [state.train_seconds for state in states_of_runs if state.trained]
    shapes = separator.flat_shapes(config.model)
    return CellCost(
        cell=cell,
        parameters=sum(math.prod(shape) for path, shape in shapes.items() if path[0] == "params"),
        steps=config.train.steps,
        examples=config.train.steps * config.train.batch_size,
        flops=step_flops(config) * config.train.steps,
        trained=len(seconds),
        runs=len(runs),
        train_seconds=sum(seconds) / len(seconds) if seconds else None,
    )


def step_flops(config: ExperimentConfig) -> float:
    """Returns the floating-point operations of one train step over the global batch, without compiling it.

    Loss, optimizer, mixing and magnitude power are those of a default config, because they hardly count
    beside the network (the losses differ by 1e-5 of it): cells that differ only in them are counted once.
    """
    return _step_flops(_decisive(config))


def _decisive(config: ExperimentConfig) -> ExperimentConfig:
    """Returns a config of the same network, batch and precision, with defaults elsewhere."""
    return ExperimentConfig(
        model=dataclasses.replace(config.model, magnitude_power=1.0),
        mixture=MixtureConfig(segment_seconds=config.mixture.segment_seconds),
        train=TrainConfig(batch_size=config.train.batch_size),
        execution=ExecutionConfig(compute=config.execution.compute, lanes=0),
    )


@functools.lru_cache(maxsize=256)
def _step_flops(config: ExperimentConfig) -> float:
    mesh = meshes.make_mesh(config.mesh, jax.devices()[:1])
    optimizer = make_optimizer(config.optimizer, config.train.steps)
    with jax.set_mesh(mesh):
        step = make_train_step(config, optimizer, mesh)
        lowered = step.lower(states.shapes(config, optimizer), batch_like(config, mesh))
        costs = lowered.cost_analysis()
    assert costs is not None
    return float(costs["flops"])


def seconds_left(costs: Sequence[CellCost]) -> float | None:
    """Returns the time to train the remaining runs one after the other; None without a trained run.

    A run takes as long as the trained runs of its cell or, without one, as long per operation as all trained
    runs.
    """
    known = [(cost.train_seconds, cost) for cost in costs if cost.train_seconds is not None]
    if not known:
        return None
    per_flop = sum(s * cost.trained for s, cost in known) / sum(c.flops * c.trained for _, c in known)
    return sum(
        (cost.runs - cost.trained)
        * (cost.train_seconds if cost.train_seconds is not None else cost.flops * per_flop)
        for cost in costs
    )


def cost_table(sweep: Sweep, costs: Sequence[CellCost]) -> Table:
    """Returns the costs as a table for a rich console; its caption explains them."""
    table = Table(title=escape(f"sweep {sweep.name}"), caption=_caption(costs), caption_justify="left")
    for name in ("cell", "parameters", "steps", "examples", "TFLOP", "trained", "minutes a run"):
        table.add_column(name, justify="left" if name == "cell" else "right", overflow="fold")
    for cost in costs:
        table.add_row(
            escape(cost.cell),
            f"{cost.parameters:,}",
            f"{cost.steps:,}",
            f"{cost.examples:,}",
            f"{cost.flops / 1e12:,.3g}" if cost.flops < 1e14 else f"{cost.flops / 1e12:,.0f}",
            f"{cost.trained} of {cost.runs}",
            "unknown" if cost.train_seconds is None else f"{cost.train_seconds / 60:.1f}",
        )
    return table


def _caption(costs: Sequence[CellCost]) -> str:
    left = sum(cost.runs - cost.trained for cost in costs)
    flops = sum((cost.runs - cost.trained) * cost.flops for cost in costs) / 1e12
    lines = [
        "Steps, examples, TFLOP and minutes are those of one run. TFLOP: the train steps' operations as XLA "
        "counts them before it optimises, without validation and evaluation.",
        f"{left} of {sum(cost.runs for cost in costs)} runs are not trained yet: {flops:,.3g} TFLOP.",
    ]
    seconds = seconds_left(costs)
    trained = sum(cost.trained for cost in costs)
    if seconds is None:
        lines.append("Time: unknown until a run of this sweep has been trained in this work directory.")
    elif left:
        lines.append(
            f"Training them one after the other takes about {seconds / 60:,.0f} minutes, estimated from "
            f"{trained} trained run(s) in this work directory, with starting, compiling and validation; "
            "cells without one are estimated from their TFLOP."
        )
    return "\n".join(lines)
