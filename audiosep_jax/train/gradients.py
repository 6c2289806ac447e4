"""Loss and gradient of a batch: as a whole, or in parts one after the other."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, PartitionSpec

from audiosep_jax.audio.mixing import mix
from audiosep_jax.config import ExperimentConfig
from audiosep_jax.models import separator
from audiosep_jax.train.loss import waveform_loss

Batch = dict[str, jax.Array]
"""Arrays of a `MixtureBatch`: segments, gains_db, level_db, absent, condition."""


class Gradients(NamedTuple):
    """Mean loss, its gradient, and the running statistics after the batch."""

    loss: jax.Array
    gradients: optax.Updates
    batch_stats: separator.Variables


def batch_gradients(
    config: ExperimentConfig, params: optax.Params, batch_stats: separator.Variables, batch: Batch, mesh: Mesh
) -> Gradients:
    """Mixes, separates and compares a batch in `execution.microbatches` parts of one size.

    Each part is a batch of its own to BatchNorm: it is normalized by its own mean and variance, over all
    devices, and moves the running statistics, from what the part before left, by one update with the usual
    momentum; m parts make m updates. Loss and gradient are the means over the parts, so the gradient is that
    of the mean loss over the whole batch. Without BatchNorm nothing but rounding would depend on the
    number of parts.
    """

    def of_part(
        params: optax.Params, batch_stats: separator.Variables, part: Batch
    ) -> tuple[jax.Array, separator.Variables]:
        mixture, target = mix(
            part["segments"], part["gains_db"], level_db=part["level_db"], absent=part["absent"]
        )
        variables = {"params": params, "batch_stats": batch_stats}
        estimate, batch_stats = separator.apply_train(config.model, variables, mixture, part["condition"])
        loss = waveform_loss(config.train.loss, estimate=estimate, target=target, mixture=mixture)
        return loss, batch_stats

    value_and_grad = jax.value_and_grad(of_part, has_aux=True)
    parts = config.execution.microbatches
    if parts == 1:
        (loss, batch_stats), gradients = value_and_grad(params, batch_stats, batch)
        return Gradients(loss, gradients, batch_stats)

    def add_part(sums: Gradients, part: Batch) -> tuple[Gradients, None]:
        (loss, batch_stats), gradients = value_and_grad(params, sums.batch_stats, part)
        gradients = jax.tree.map(jnp.add, sums.gradients, gradients)
        return Gradients(sums.loss + loss, gradients, batch_stats), None

    zeros = jax.tree.map(jnp.zeros_like, params)
    start = Gradients(jnp.zeros([], jnp.float32), zeros, batch_stats)
    sums, _ = jax.lax.scan(add_part, start, _in_parts(batch, parts, mesh))
    gradients = jax.tree.map(lambda gradient: gradient / parts, sums.gradients)
    return Gradients(sums.loss / parts, gradients, sums.batch_stats)


def _in_parts(batch: Batch, parts: int, mesh: Mesh) -> Batch:
    """Turns `[batch, …]` into `[parts, batch / parts, …]`: every device splits the examples it holds."""
    axes = mesh.axis_names
    split = jax.shard_map(
        lambda local: jax.tree.map(lambda array: array.reshape(parts, -1, *array.shape[1:]), local),
        mesh=mesh,
        in_specs=PartitionSpec(axes),
        out_specs=PartitionSpec(None, axes),
    )
    return split(batch)
