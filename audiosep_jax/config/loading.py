"""Loads the Python file of an experiment and applies `--set` overrides to its config."""

import contextlib
import json
import runpy
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from audiosep_jax.config.experiment import ExperimentConfig
from audiosep_jax.errors import AudioSepError, ConfigError, shown
from audiosep_jax.utils.serialization import from_dict, to_dict

_Value = TypeVar("_Value")


def load_experiment(path: Path) -> ExperimentConfig:
    """Returns the CONFIG of an experiment file.

    Raises:
      ConfigError: the file is missing, does not run, or has no CONFIG.
    """
    return load_name(
        path, "CONFIG", ExperimentConfig, example="an experiment file, such as experiments/tiny.py"
    )


def load_name(path: Path, name: str, kind: type[_Value], *, example: str) -> _Value:
    """Runs a Python file and returns the value that it assigns to `name`.

    A file inside a package may import its neighbours, as `experiments/paper.py` imports `experiments.base`,
    wherever the command is started. `example` is the right file for the error, such as "a sweep file, such as
    experiments/ablations/film.py".

    Raises:
      ConfigError: the file is missing, does not run, or does not define the name.
    """
    if not path.is_file():
        raise ConfigError(f"{path} does not exist: give {example}.")
    try:
        with _importable(path):
            value = runpy.run_path(str(path)).get(name)
    except AudioSepError as error:
        raise ConfigError(f"{path}: {error}") from error
    except Exception as error:
        raise ConfigError(f"{path} does not run: {type(error).__name__}: {shown(error)}.") from error
    if not isinstance(value, kind):
        raise ConfigError(f"{path} defines no {name} of type {kind.__name__}.")
    return value


@contextlib.contextmanager
def _importable(path: Path) -> Iterator[None]:
    """Makes the package that holds a file importable while the file runs."""
    root = path.resolve().parent
    while (root / "__init__.py").is_file():
        root = root.parent
    sys.path.insert(0, str(root))
    try:
        yield
    finally:
        sys.path.remove(str(root))


def apply_overrides(config: ExperimentConfig, overrides: Sequence[str]) -> ExperimentConfig:
    """Returns the config with `FIELD=VALUE` overrides, each checked like a field of a config file.

    Examples:
      >>> apply_overrides(ExperimentConfig(), ["train.steps=100", "optimizer.kind=adam"]).train.steps
      100

    Raises:
      ConfigError: an override has no `=`, names an unknown field or has a value of the wrong type.
    """
    values = to_dict(config)
    for override in overrides:
        name, equals, text = override.partition("=")
        if not equals:
            raise ConfigError(f"--set {override!r} has no '=': write FIELD=VALUE, such as train.steps=100.")
        parent: Any = values
        *parents, field = name.split(".")
        for each in parents:
            parent = parent.get(each) if isinstance(parent, dict) else None
        if not isinstance(parent, dict) or field not in parent:
            raise ConfigError(f"--set {override!r}: the config has no field {name}.")
        try:
            parent[field] = json.loads(text)
        except ValueError:
            parent[field] = text
    return from_dict(ExperimentConfig, values, where="--set")
