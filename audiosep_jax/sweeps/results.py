"""Reads the results of a sweep's runs and compares its cells."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from audiosep_jax.errors import ReportError, SweepError, shown
from audiosep_jax.evals.source_recordings import recording_of
from audiosep_jax.evals.statistics import CrossedMean, crossed_mean, holm
from audiosep_jax.reports.run_record import read_run
from audiosep_jax.sweeps import workdir
from audiosep_jax.sweeps.runs import RUNS
from audiosep_jax.sweeps.workdir import RunState

ALPHA = 0.05


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curve:
    """Validation SDRi of one run during its training, means over the validation mixtures."""

    seed: int
    steps: tuple[int, ...]
    sdri_db: tuple[float, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
    """A cell minus the one that it is compared with, over their common seeds.

    Attributes:
      sdri_db: paired by seed and mixture; `p_value` is not corrected.
      corrected_p: the p-value, corrected for all comparisons of the sweep (Holm).
      significant: whether `corrected_p` is below 0.05.
    """

    seeds: tuple[int, ...]
    sdri_db: CrossedMean
    corrected_p: float
    significant: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class CellResult:
    """The result of one cell, as means over its finished seeds.

    Attributes:
      missing: seeds that are not finished, or were measured on another set.
      attenuation_db: mean attenuation of absent sounds; None where the set has none.
      train_minutes: mean per run.
      difference: None for the cell that the others are compared with, and without a common seed.
      curves: one per finished seed that was validated.
    """

    cell: str
    changes: Mapping[str, Any]
    seeds: tuple[int, ...]
    missing: tuple[int, ...]
    sdri_db: CrossedMean
    seed_means_db: tuple[float, ...]
    si_sdri_db: float
    attenuation_db: float | None
    train_minutes: float
    difference: Difference | None
    curves: tuple[Curve, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepResult:
    """The result of a sweep.

    Attributes:
      mixtures: number of mixtures whose query names their target.
      recordings: number of recordings that their targets were cut from.
      compared_with: the cell that the others are compared with.
      cells: those with at least one finished run, in the order of the sweep.
      unfinished: names of the cells with none.
    """

    name: str
    evaluation_set: str
    mixtures: int
    recordings: int
    compared_with: str
    seeds: tuple[int, ...]
    cells: tuple[CellResult, ...]
    unfinished: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Measured:
    """A finished run's evaluation: rows of the set in its order."""

    set_name: str
    keys: tuple[tuple[int, str], ...]
    sdri_db: np.ndarray
    si_sdri_db: np.ndarray
    attenuation_db: np.ndarray
    state: RunState
    curve: Curve | None


def read_results(directory: Path) -> SweepResult:
    """Reads the finished runs of a sweep's work directory and compares its cells.

    Raises:
      SweepError: there is no sweep, none of its runs is finished, or they were measured on different sets.
    """
    plan = workdir.read_plan(directory)
    measured: dict[str, dict[int, _Measured]] = {}
    for cell, about in plan["cells"].items():
        runs = {int(seed): directory / RUNS / folder for seed, folder in about["runs"].items()}
        read = {
            seed: _read_run(folder, seed)
            for seed, folder in runs.items()
            if _is_measured(folder, plan.get("evaluation_hash", ""))
        }
        measured[cell] = read
    every = [run for runs in measured.values() for run in runs.values()]
    if not every:
        raise SweepError(f"{directory}: no run of the sweep is finished: resume it with `audiosep sweep`.")
    first = every[0]
    if any((run.state.evaluated, run.keys) != (first.state.evaluated, first.keys) for run in every):
        raise SweepError(
            f"{directory}: its runs were measured on different evaluation sets: start the sweep again, which "
            "measures them anew."
        )
    base, groups = plan["compared_with"], [recording_of(file) for _, file in first.keys]
    pairs = {
        cell: sorted(set(runs) & set(measured[base])) if cell != base else []
        for cell, runs in measured.items()
    }
    differences = {
        cell: crossed_mean(_rows(measured[cell], seeds) - _rows(measured[base], seeds), groups)
        for cell, seeds in pairs.items()
        if seeds
    }
    corrected = dict(zip(differences, holm([one.p_value for one in differences.values()]), strict=True))
    cells = [
        _cell_result(
            cell,
            plan,
            runs,
            groups,
            Difference(
                seeds=tuple(pairs[cell]),
                sdri_db=differences[cell],
                corrected_p=corrected[cell],
                significant=corrected[cell] < ALPHA,
            )
            if cell in differences
            else None,
        )
        for cell, runs in measured.items()
        if runs
    ]
    return SweepResult(
        name=plan["name"],
        evaluation_set=first.set_name,
        mixtures=len(groups),
        recordings=len(set(groups)),
        compared_with=base,
        seeds=tuple(plan["seeds"]),
        cells=tuple(cells),
        unfinished=tuple(cell for cell, runs in measured.items() if not runs),
    )


def _is_measured(folder: Path, evaluation_hash: str) -> bool:
    """Whether a run is finished, on the plan's evaluation set if the plan has one."""
    state = RunState.read(folder)
    return state.trained and bool(state.evaluated) and evaluation_hash in ("", state.evaluated)


def _rows(runs: Mapping[int, _Measured], seeds: list[int]) -> np.ndarray:
    return np.stack([runs[seed].sdri_db for seed in seeds])


def _cell_result(
    cell: str,
    plan: dict[str, Any],
    runs: Mapping[int, _Measured],
    groups: list[str],
    difference: Difference | None,
) -> CellResult:
    seeds = sorted(runs)
    absent = np.concatenate([run.attenuation_db for run in runs.values()])
    return CellResult(
        cell=cell,
        changes=plan["cells"][cell]["changes"],
        seeds=tuple(seeds),
        missing=tuple(seed for seed in map(int, plan["cells"][cell]["runs"]) if seed not in runs),
        sdri_db=crossed_mean(_rows(runs, seeds), groups),
        seed_means_db=tuple(float(runs[seed].sdri_db.mean()) for seed in seeds),
        si_sdri_db=float(np.mean([runs[seed].si_sdri_db.mean() for seed in seeds])),
        attenuation_db=float(absent.mean()) if absent.size else None,
        train_minutes=float(np.mean([run.state.train_seconds for run in runs.values()])) / 60,
        difference=difference,
        curves=tuple(curve for seed in seeds if (curve := runs[seed].curve)),
    )


def _read_run(folder: Path, seed: int) -> _Measured:
    """Returns the numbers of a finished run."""
    path = folder / workdir.EVALUATION / "result.json"
    try:
        result = json.loads(path.read_text("utf-8"))
        rows = result["examples"]
        measured = _Measured(
            set_name=result["set_name"],
            keys=tuple((row["index"], row["target_file"]) for row in rows),
            sdri_db=np.array([row["sdri_db"] for row in rows], np.float64),
            si_sdri_db=np.array([row["si_sdri_db"] for row in rows], np.float64),
            attenuation_db=np.array([row["attenuation_db"] for row in result["absent"]], np.float64),
            state=RunState.read(folder),
            curve=_read_curve(folder / workdir.TRAINING, seed),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SweepError(
            f"{path} cannot be read ({shown(error)}): remove {folder / workdir.STATE} and start the sweep "
            "again."
        ) from error
    if not measured.keys:
        raise SweepError(
            f"{path} has no mixture whose query names its target: choose another evaluation set."
        )
    return measured


def _read_curve(folder: Path, seed: int) -> Curve | None:
    try:
        curve = read_run(folder, name="").curve("validation/sdri_db")
    except ReportError:  # without a record the run has no curve
        return None
    steps, values = tuple(map(int, curve.steps)), tuple(curve.values.tolist())
    return Curve(seed=seed, steps=steps, sdri_db=values) if steps else None
