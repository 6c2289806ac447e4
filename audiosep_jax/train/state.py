"""The train state: everything that a step reads and writes."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax

from audiosep_jax.config import ExperimentConfig, ModelConfig
from audiosep_jax.models import separator

NEVER = -1


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainState:
    """A pytree.

    Attributes:
      step: number of steps taken, skipped ones included, int32; also the next position of the data.
      ema: moving average of the parameters, with their structure; None without an average.
      skipped: number of steps that changed nothing because loss or gradient was not finite, int32.
      failed_step: the first step whose loss or gradient was not finite, or -1. From then on steps change
        nothing, so that the state stays as it was before the bad batch. -1 always if such steps are skipped.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any
    ema: Any
    skipped: jax.Array
    failed_step: jax.Array

    @property
    def variables(self) -> separator.Variables:
        """The trained variables, as `separator.apply` takes them."""
        return {"params": self.params, "batch_stats": self.batch_stats}

    @property
    def delivered(self) -> separator.Variables:
        """The variables that are validated and written as a model: the averaged parameters if there are any.

        The statistics are those of the trained parameters, because they are averages over many steps anyway.
        """
        return {"params": self.params if self.ema is None else self.ema, "batch_stats": self.batch_stats}


def create(
    config: ModelConfig,
    optimizer: optax.GradientTransformation,
    key: jax.Array,
    *,
    variables: separator.Variables | None = None,
    average: bool = False,
) -> TrainState:
    """Returns the state before the first step, with parameters that `key` draws, or those of `variables`.

    With `average` it keeps a moving average of the parameters (`train.ema_decay` above 0).
    """
    start = separator.init(config, key) if variables is None else variables
    params, batch_stats = (jax.tree.map(jnp.asarray, start[part]) for part in ("params", "batch_stats"))
    return TrainState(
        step=jnp.zeros([], jnp.int32),
        params=params,
        batch_stats=batch_stats,
        opt_state=optimizer.init(params),
        # A copy: a step that donates its state cannot donate the same buffer twice.
        ema=jax.tree.map(jnp.copy, params) if average else None,
        skipped=jnp.zeros([], jnp.int32),
        failed_step=jnp.full([], NEVER, jnp.int32),
    )


def shapes(config: ExperimentConfig, optimizer: optax.GradientTransformation) -> TrainState:
    """Returns the state of an experiment as `jax.ShapeDtypeStruct`s, without computing it."""
    return jax.eval_shape(
        lambda: create(config.model, optimizer, jax.random.key(0), average=config.train.ema_decay > 0)
    )
