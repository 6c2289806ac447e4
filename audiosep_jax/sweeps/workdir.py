"""The work directory of a sweep: its lock, its plan, and the state of each run."""

import contextlib
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from audiosep_jax.errors import AudioSepError, SweepError, shown
from audiosep_jax.sweeps.definition import Sweep
from audiosep_jax.sweeps.runs import Run, runs_of
from audiosep_jax.utils.atomic import write_json
from audiosep_jax.utils.locks import locked

PLAN = "sweep.json"
STATE = "state.json"
LOG = "log.txt"
CONFIG = "config.json"
EXPERIMENT = "experiment.py"
TRAINING = "train"
EVALUATION = "evaluation"
MODEL = "checkpoint"
"""Folder of a training's model: `FINAL` of `train/final_models.py`, which would import JAX."""

_LOCK = ".sweep.lock"


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunState:
    """The state of a run.

    Attributes:
      trained: whether the training reached its last step.
      evaluated: hash of the evaluation set on which its model was measured; "" before that.
      train_seconds: time of all training attempts, with starting and compiling.
    """

    trained: bool = False
    evaluated: str = ""
    train_seconds: float = 0.0
    evaluate_seconds: float = 0.0

    @classmethod
    def read(cls, folder: Path) -> "RunState":
        """Returns the state in a run's folder; the initial state where the file is missing or damaged."""
        try:
            return cls(**json.loads((folder / STATE).read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            return cls()

    def write(self, folder: Path) -> None:
        """Replaces the state in a run's folder."""
        write_json(folder / STATE, dataclasses.asdict(self))


@contextlib.contextmanager
def only_sweep_in(workdir: Path) -> Iterator[int]:
    """Holds a work directory, and yields the descriptor of its lock.

    Trainings inherit the descriptor: if the sweep is killed, they keep a new sweep out until they end.

    Raises:
      StorageError: another sweep works there, or the directory cannot be written.
    """
    busy = f"another sweep works in {workdir}, or a training that one left behind"
    with locked(workdir / _LOCK, busy=busy, instead="choose another --workdir") as file:
        yield file.fileno()


def write_plan(sweep: Sweep, runs: list[Run], workdir: Path, *, evaluation_hash: str) -> None:
    """Writes the plan, from which the report is made.

    Cells and seeds of an earlier plan are kept if their config would still be the same, so that the report
    includes every comparison that was tried.

    Raises:
      SweepError: the directory holds another sweep.
      StorageError: the directory cannot be written.
    """
    before = read_plan(workdir) if (workdir / PLAN).exists() else {"name": sweep.name, "cells": {}}
    if before["name"] != sweep.name:
        raise SweepError(
            f"{workdir} holds the sweep {shown(before['name'])}: choose another --workdir for {sweep.name}."
        )
    new = {
        cell: {
            "changes": dict(changes),
            "runs": {str(run.seed): run.folder.name for run in runs if run.cell == cell},
        }
        for cell, changes in sweep.cells.items()
    }
    named = {_hash(run.folder.name) for run in runs}
    cells = {}
    for cell in dict.fromkeys((sweep.compared_with, *before["cells"], *new)):
        was = before["cells"].get(cell, {"changes": {}, "runs": {}})
        about = new.get(cell, {"changes": was["changes"], "runs": {}})
        kept = _still_the_same(sweep, cell, about["changes"], was["runs"])
        if cell not in new:  # a renamed cell does not count twice
            kept = {seed: folder for seed, folder in kept.items() if _hash(folder) not in named}
        together = sorted({**kept, **about["runs"]}.items(), key=lambda one: int(one[0]))
        if together:
            cells[cell] = {"changes": about["changes"], "runs": dict(together)}
    plan = {
        "name": sweep.name,
        "compared_with": sweep.compared_with,
        "seeds": sorted({int(seed) for about in cells.values() for seed in about["runs"]}),
        "evaluation": dataclasses.asdict(sweep.evaluation),
        "evaluation_hash": evaluation_hash,
        "cells": cells,
    }
    write_json(workdir / PLAN, plan)


def _still_the_same(sweep: Sweep, cell: str, changes: dict[str, Any], runs: dict[str, str]) -> dict[str, str]:
    """Returns the runs (seed to folder) whose config the sweep would still make."""
    alone = dataclasses.replace(sweep, cells={cell: changes}, seeds=tuple(map(int, runs)) or sweep.seeds)
    try:
        now = {str(run.seed): run.folder.name for run in runs_of(alone, Path())}
    except AudioSepError:  # the cell changes a field that this base or release lacks
        return {}
    return {seed: folder for seed, folder in runs.items() if folder == now[seed]}


def _hash(folder: str) -> str:
    return folder.rpartition("-")[2]


def read_plan(workdir: Path) -> dict[str, Any]:
    """Returns the plan that `write_plan` wrote.

    Raises:
      SweepError: there is no sweep in the directory, or its plan is damaged.
    """
    path = workdir / PLAN
    try:
        plan = json.loads(path.read_text("utf-8"))
        if {"name", "compared_with", "seeds", "evaluation", "cells"} <= set(plan):
            return plan
        raise ValueError("fields are missing")
    except FileNotFoundError:
        raise SweepError(
            f"{workdir} holds no sweep (there is no {PLAN}): give the --workdir of `audiosep sweep`."
        ) from None
    except (OSError, ValueError, TypeError) as error:
        raise SweepError(
            f"{path} cannot be read ({shown(error)}): start the sweep again, which writes it anew."
        ) from error
