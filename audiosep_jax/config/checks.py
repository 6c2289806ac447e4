"""What several parts of a config check alike."""

from typing import Any

from audiosep_jax.errors import ConfigError


def at_least(config: Any, part: str, least: int, *names: str) -> None:
    """Raises AudioSepError where a named field of `config`, known to users as `part`, is below `least`."""
    for name in names:
        if not getattr(config, name) >= least:
            raise ConfigError(f"{part}.{name} is {getattr(config, name)}: it must be at least {least}.")
