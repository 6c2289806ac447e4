"""A check that several parts of a config share."""

from typing import Any

from audiosep_jax.errors import ConfigError


def at_least(config: Any, part: str, least: int, *names: str) -> None:
    """Raises ConfigError if a named field of `config`, which users know as `part`, is below `least`."""
    for name in names:
        if not getattr(config, name) >= least:
            raise ConfigError(f"{part}.{name} is {getattr(config, name)}: it must be at least {least}.")
