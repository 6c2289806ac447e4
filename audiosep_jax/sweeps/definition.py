"""A sweep: a base config, cells that change its fields, seeds, and the evaluation set."""

import dataclasses
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from audiosep_jax.config import ExperimentConfig
from audiosep_jax.config.loading import load_name
from audiosep_jax.errors import AudioSepError, ConfigError, shown
from audiosep_jax.utils.serialization import from_dict, to_dict

Changes = Mapping[str, Any]
"""Dotted field of a config, such as "model.window_length", and its value."""

_SEEDS = ("train.seed", "data.seed")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+=,-]{0,79}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The evaluation set of every model of a sweep.

    Attributes:
      evaluation_set: JSON file of the set, as `audiosep evaluate` takes it.
      root: folder of the set's files.
      batch_size: mixtures that are separated together.
    """

    evaluation_set: str
    root: str
    batch_size: int = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sweep:
    """Variations of an experiment, each trained with every seed.

    Attributes:
      name: of the sweep, in tables.
      base: config that the cells change.
      cells: name of a cell and the fields it changes; `{}` is the base itself. The others are compared with
        the first cell. `product` makes cells from the values of several fields.
      seeds: each sets the seed of the parameters and that of the data.
      evaluation: set on which the models are measured.

    Raises:
      ConfigError: a name cannot be that of a folder, there are no cells or seeds, or a seed is given twice.
    """

    name: str
    base: ExperimentConfig
    cells: Mapping[str, Changes]
    seeds: tuple[int, ...] = (0, 1, 2)
    evaluation: Evaluation

    def __post_init__(self) -> None:
        for name in (self.name, *self.cells):
            if not _NAME.fullmatch(name):
                raise ConfigError(
                    f"sweep {shown(self.name)}: the name {shown(name)} cannot be that of a folder: use up to "
                    "80 of A-Z, a-z, 0-9 and . _ + = , - and begin with a letter or digit."
                )
        if not self.cells:
            raise ConfigError(f"sweep {self.name} has no cells: give at least one, such as {{'base': {{}}}}.")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise ConfigError(
                f"sweep {self.name} has the seeds {list(self.seeds)}: give one or more different whole "
                "numbers of at least 0."
            )
        if self.evaluation.batch_size < 1:
            raise ConfigError(
                f"sweep {self.name}: evaluation.batch_size is {self.evaluation.batch_size}: give a positive "
                "number."
            )

    @property
    def compared_with(self) -> str:
        """The cell that the others are compared with."""
        return next(iter(self.cells))

    def config(self, cell: str, seed: int) -> ExperimentConfig:
        """Returns the config of one run.

        Raises:
          ConfigError: the cell changes an unknown field or a seed, or gives a field an invalid value.
        """
        changes = self.cells[cell]
        where = f"sweep {self.name}, cell {cell}"
        for name in set(changes) & set(_SEEDS):
            raise ConfigError(f"{where} changes {name}, which the sweep's seeds set: leave it out.")
        config = with_fields(self.base, {**changes, **dict.fromkeys(_SEEDS, seed)}, where=where)
        return dataclasses.replace(config, name=f"{self.name} {cell} seed {seed}")


def product(axes: Mapping[str, Sequence[Any]]) -> dict[str, dict[str, Any]]:
    """Returns a cell for every combination of values of dotted fields; the last field changes fastest.

    The name of a cell has the last part of each field and its value.

    Raises:
      ConfigError: two combinations have one name.

    Examples:
      >>> list(product({"model.film": ("shift", "scale_shift"), "train.loss": ("l1", "snr")}))
      ['film=shift,loss=l1', 'film=shift,loss=snr', 'film=scale_shift,loss=l1', 'film=scale_shift,loss=snr']
    """
    cells: dict[str, dict[str, Any]] = {}
    for values in itertools.product(*axes.values()):
        changes = dict(zip(axes, values, strict=True))
        cell = ",".join(f"{name.rpartition('.')[2]}={_word(value)}" for name, value in changes.items())
        if cell in cells:
            raise ConfigError(
                f"product: {shown(repr(cells[cell]))} and {shown(repr(changes))} would both be the cell "
                f"{cell}: write the cells as a dict with names of your own."
            )
        cells[cell] = changes
    return cells


def _word(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "-".join(map(_word, value))
    text = str(value)
    word = re.sub(r"[^A-Za-z0-9._-]+", "-", text).rstrip("-")
    return word if text.startswith("-") else word.lstrip("-")


def with_fields(config: ExperimentConfig, changes: Changes, *, where: str) -> ExperimentConfig:
    """Returns the config with some fields changed, each checked like a config file; errors name `where`.

    Raises:
      ConfigError: there is no such field, or its value has a wrong type or range.
    """
    values = to_dict(config)
    for name, value in changes.items():
        place: Any = values
        *parents, leaf = name.split(".")
        for parent in parents:
            place = place.get(parent) if isinstance(place, dict) else None
        if not isinstance(place, dict) or leaf not in place:
            raise ConfigError(f"{where}: the config has no field {shown(name)}.")
        try:
            place[leaf] = json.loads(json.dumps(value))
        except (TypeError, ValueError):
            raise ConfigError(
                f"{where}: {name} is {shown(repr(value))}, which JSON cannot hold: give numbers, texts or "
                "lists."
            ) from None
    try:
        return from_dict(ExperimentConfig, values)
    except AudioSepError as error:
        raise ConfigError(f"{where}: {error}") from error


def load_sweep(path: Path) -> Sweep:
    """Returns the SWEEP of a file, such as experiments/ablations/film.py.

    Raises:
      ConfigError: the file is missing, does not run, or has no SWEEP.
    """
    return load_name(path, "SWEEP", Sweep, example="a sweep file, such as experiments/ablations/film.py")
