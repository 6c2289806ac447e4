"""Reads values from Python files of users."""

import runpy
from pathlib import Path
from typing import TypeVar

from audiosep_jax.errors import AudioSepError, ConfigError, shown

_Value = TypeVar("_Value")


def load_name(path: Path, name: str, kind: type[_Value], *, wanted: str) -> _Value:
    """Runs a file and returns the value that it calls `name`.

    Args:
      path: of the file.
      name: of the value.
      kind: type of the value.
      wanted: what the error asks for, such as "a sweep file, such as experiments/ablations/film.py".

    Raises:
      ConfigError: the file is missing, fails when it runs, or does not define the value.
    """
    if not path.is_file():
        raise ConfigError(f"{path} does not exist: give {wanted}.")
    try:
        value = runpy.run_path(str(path)).get(name)
    except AudioSepError as error:
        raise ConfigError(f"{path}: {error}") from error
    except Exception as error:
        raise ConfigError(f"{path} does not run: {type(error).__name__}: {shown(error)}.") from error
    if not isinstance(value, kind):
        raise ConfigError(f"{path} defines no {name} of type {kind.__name__}.")
    return value
