"""What a sweep is: a base config, cells that change fields of it, seeds, and the set all are measured on."""

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
    """What every model of a sweep is measured on.

    Attributes:
      evaluation_set: JSON file of the set, as `audiosep evaluate` takes it.
      root: folder that the set's file names start from.
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
      base: what the cells change.
      cells: name of a cell and the fields it changes; `{}` is the base itself. The first cell is the one
        that the others are compared with. `product` makes cells of several fields' values.
      seeds: each sets the seed of the parameters and that of the data.
      evaluation: what the models are measured on.

    Raises:
      AudioSepError: a name that is no folder's, no cells or seeds, or two that are the same.
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
                    f"sweep {shown(self.name)}: the name {shown(name)} is no folder's; use up to 80 of A-Z, "
                    "a-z, 0-9 and . _ + = , - and begin with a letter or digit."
                )
        if not self.cells:
            raise ConfigError(f"sweep {self.name} has no cells: give at least one, such as {{'base': {{}}}}.")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise ConfigError(
                f"sweep {self.name} has the seeds {list(self.seeds)}: give one or more whole numbers from 0 "
                "on, each once."
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
          AudioSepError: the cell changes a field that there is not, or that the seed sets, or gives it a
            value that it cannot have.
        """
        changes = self.cells[cell]
        where = f"sweep {self.name}, cell {cell}"
        for name in set(changes) & set(_SEEDS):
            raise ConfigError(f"{where} changes {name}, which the sweep's seeds set: leave it out.")
        config = with_fields(self.base, {**changes, **dict.fromkeys(_SEEDS, seed)}, where=where)
        return dataclasses.replace(config, name=f"{self.name} {cell} seed {seed}")


def product(axes: Mapping[str, Sequence[Any]]) -> dict[str, dict[str, Any]]:
    """Returns a cell for every combination of fields' values, the last field changing fastest.

    A cell is named by the fields' last parts and their values.

    Args:
      axes: dotted field and its values.

    Raises:
      AudioSepError: two combinations have one name.

    Example:
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
    """Returns the config with some fields changed, each checked like a config file.

    Args:
      config: stays as it is.
      changes: dotted fields and their values.
      where: how errors name the place.

    Raises:
      AudioSepError: there is no such field, or its value is of the wrong type or range.
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
                f"{where}: {name} is {shown(repr(value))}, which is no JSON: give numbers, texts or lists."
            ) from None
    try:
        return from_dict(ExperimentConfig, values)
    except AudioSepError as error:
        raise ConfigError(f"{where}: {error}") from error


def load_sweep(path: Path) -> Sweep:
    """Returns the SWEEP of a file, such as experiments/ablations/film.py.

    Raises:
      AudioSepError: the file is missing, does not run, or has no SWEEP.
    """
    return load_name(path, "SWEEP", Sweep, example="a sweep file, such as experiments/ablations/film.py")
