"""What Python files of users define."""

import runpy
from pathlib import Path
from typing import TypeVar

from audiosep_jax.errors import AudioSepError, ConfigError, shown

_Value = TypeVar("_Value")


def load_name(path: Path, name: str, kind: type[_Value], *, wanted: str) -> _Value:
    """Runs a file and returns what it calls `name`.

    Args:
      path: of the file.
      name: that it must define.
      kind: of the value.
      wanted: the file that should be given, such as "a sweep file, such as experiments/ablations/film.py".

    Raises:
      AudioSepError: the file is missing, does not run, or does not define it.
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
