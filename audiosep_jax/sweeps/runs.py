"""The runs of a sweep: one config and one folder for every cell and seed."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from audiosep_jax.config import ExperimentConfig
from audiosep_jax.errors import ConfigError
from audiosep_jax.sweeps.definition import Sweep
from audiosep_jax.train.run_config import FREE_FIELDS
from audiosep_jax.utils.serialization import to_dict

RUNS = "runs"
_DIGITS = 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """One training of a sweep; its folder has its config, log, training and evaluation."""

    cell: str
    seed: int
    config: ExperimentConfig
    folder: Path

    @property
    def name(self) -> str:
        """Name of the run in messages."""
        return f"{self.cell} seed {self.seed}"


def runs_of(sweep: Sweep, workdir: Path) -> list[Run]:
    """Returns the runs of a sweep: all cells with the first seed, then all with the next.

    Raises:
      ConfigError: a cell's config is wrong, or two cells are the same.
    """
    runs, seen = [], {}
    for seed in sweep.seeds:
        for cell in sweep.cells:
            config = sweep.config(cell, seed)
            name = identity(config)
            if name in seen:
                raise ConfigError(
                    f"sweep {sweep.name}: the cells {seen[name]} and {cell} have the same config: remove one."
                )
            seen[name] = cell
            folder = workdir / RUNS / f"{cell}-seed{seed}-{name}"
            runs.append(Run(cell=cell, seed=seed, config=config, folder=folder))
    return runs


def identity(config: ExperimentConfig) -> str:
    """Returns the hash that names a run: ten hexadecimal digits.

    It covers the fields that must not change when a training resumes (`train/run_config.py`), so that an
    existing folder of that name can be resumed. Fields at their default are left out: a field that a later
    release adds does not rename earlier runs.
    """
    text = json.dumps(_decisive(config), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def _decisive(config: ExperimentConfig) -> dict[str, dict[str, Any]]:
    defaults = to_dict(ExperimentConfig())
    decisive = {
        part: {
            name: value
            for name, value in fields.items()
            if value != defaults[part][name] and name not in FREE_FIELDS.get(part, ())
        }
        for part, fields in to_dict(config).items()
        if isinstance(fields, dict)
    }
    return {part: fields for part, fields in decisive.items() if fields}
