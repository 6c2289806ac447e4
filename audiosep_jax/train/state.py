"""The train state: all that a step reads and writes."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax

from audiosep_jax.config import ModelConfig
from audiosep_jax.models import separator

NEVER = -1


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainState:
    """A pytree.

    Attributes:
      step: number of steps taken, int32.
      params: trained parameters.
      batch_stats: running statistics of BatchNorm.
      opt_state: of the Optax optimizer.
      failed_step: the first step whose loss or gradient was not finite, or -1. From there on steps
        change nothing, so that the state stays the one that met the bad batch.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any
    failed_step: jax.Array

    @property
    def variables(self) -> separator.Variables:
        """What `separator.apply` takes."""
        return {"params": self.params, "batch_stats": self.batch_stats}


def create(
    config: ModelConfig,
    optimizer: optax.GradientTransformation,
    key: jax.Array,
    *,
    variables: separator.Variables | None = None,
) -> TrainState:
    """Returns the state before the first step, from fresh variables or the given ones."""
    start = separator.init(config, key) if variables is None else variables
    params, batch_stats = (jax.tree.map(jnp.asarray, start[part]) for part in ("params", "batch_stats"))
    return TrainState(
        step=jnp.zeros([], jnp.int32),
        params=params,
        batch_stats=batch_stats,
        opt_state=optimizer.init(params),
        failed_step=jnp.full([], NEVER, jnp.int32),
    )
