"""The shapes of a model's variables, computed once per process: tracing a model takes half a second."""

import functools
from collections.abc import Mapping
from types import MappingProxyType

from audiosep_jax.config import ModelConfig
from audiosep_jax.models import separator


@functools.lru_cache(maxsize=8)
def flat_shapes(config: ModelConfig) -> Mapping[tuple[str, ...], tuple[int, ...]]:
    """Returns `separator.flat_shapes` of a config, read-only."""
    return MappingProxyType(separator.flat_shapes(config))
