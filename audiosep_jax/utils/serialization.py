"""Converts frozen dataclasses to JSON and back; errors name the field."""

import dataclasses
import difflib
import json
import math
import types
import typing
from pathlib import Path
from typing import Any, Literal, TypeVar

from audiosep_jax.errors import AudioSepError, ConfigError, listed

T = TypeVar("T")


def to_dict(config: Any) -> dict[str, Any]:
    """Returns a config as plain JSON values."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def from_dict(
    cls: type[T],
    values: dict[str, Any],
    *,
    where: str = "config",
    kind: type[AudioSepError] = ConfigError,
) -> T:
    """Builds a config, a dataclass, from the plain JSON values of `to_dict`.

    Missing fields take their defaults. `where` is how errors name the config.

    Raises:
      AudioSepError: of `kind`: a field is unknown, or a value has the wrong type.

    Examples:
      >>> @dataclasses.dataclass(frozen=True)
      ... class Window:
      ...     length: int = 1024
      ...     seconds: float = 2.0
      >>> from_dict(Window, {"seconds": 5})
      Window(length=1024, seconds=5.0)
      >>> from_dict(Window, {"hop": 5}, where="window")
      Traceback (most recent call last):
      audiosep_jax.errors.ConfigError: window has unknown field(s) hop; known: length, seconds.
    """
    if not isinstance(values, dict):
        raise kind(f"{where} must be a JSON object, but is {values!r}.")
    hints = typing.get_type_hints(cls)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        known = difflib.get_close_matches(unknown[0], hints, n=len(hints), cutoff=0)
        raise kind(f"{where} has unknown field(s) {listed(unknown)}; known: {listed(known)}.")
    return cls(**{key: _convert(hints[key], value, f"{where}.{key}", kind) for key, value in values.items()})


def load_json(
    cls: type[T],
    path: str | Path,
    *,
    what: str = "a JSON config file",
    kind: type[AudioSepError] = ConfigError,
) -> T:
    """Reads a dataclass from a JSON file; `what` is the file to ask for if there is none.

    Raises:
      AudioSepError: of `kind`: the file is missing, is not JSON, or does not fit the class.
    """
    path = Path(path)
    try:
        values = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise kind(f"{path} does not exist: give {what}.") from None
    except (OSError, ValueError) as error:
        raise kind(f"{path} is not a readable JSON file: {error}.") from error
    return from_dict(cls, values, where=str(path), kind=kind)


def _convert(hint: Any, value: Any, where: str, kind: type[AudioSepError]) -> Any:
    origin = typing.get_origin(hint)
    if dataclasses.is_dataclass(hint):
        return from_dict(typing.cast(type, hint), value, where=where, kind=kind)
    if origin is Literal:
        if value not in typing.get_args(hint):
            raise kind(f"{where} is {value!r}: choose one of {', '.join(typing.get_args(hint))}.")
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise kind(f"{where} is {value!r}: a list is needed.")
        hints = typing.get_args(hint)
        if Ellipsis in hints:
            hints = (hints[0],) * len(value)
        if len(hints) != len(value):
            raise kind(f"{where} has {len(value)} entries: {len(hints)} are needed.")
        return tuple(_convert(each, item, where, kind) for each, item in zip(hints, value, strict=True))
    if origin is dict:
        if not isinstance(value, dict):
            raise kind(f"{where} is {value!r}: a JSON object is needed.")
        inner = typing.get_args(hint)[1]
        return {key: _convert(inner, item, f"{where}.{key}", kind) for key, item in value.items()}
    if origin in (typing.Union, types.UnionType):
        options = [each for each in typing.get_args(hint) if each is not types.NoneType]
        if len(options) != 1:
            raise TypeError(f"{where}: unions have no JSON form here, except of a type and None")
        return None if value is None else _convert(options[0], value, where, kind)
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise kind(f"{where} is {value!r}: a finite number is needed.")
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise kind(f"{where} is {value!r}: a value of type {hint.__name__} is needed.")
    return value
