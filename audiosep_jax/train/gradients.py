"""Loss and gradient of a batch: as a whole, or in parts one after the other."""

from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, PartitionSpec

from audiosep_jax.audio.mixing import mix
from audiosep_jax.config import ExperimentConfig
from audiosep_jax.models import separator
from audiosep_jax.train import mesh as meshes
from audiosep_jax.train.loss import waveform_loss

Batch = dict[str, jax.Array]
"""Arrays of a `MixtureBatch`: segments, gains_db, level_db, absent, condition; snr_db if a recipe has it."""


def batch_like(config: ExperimentConfig, mesh: Mesh) -> Batch:
    """Returns a global batch of `jax.ShapeDtypeStruct`s with their sharding."""
    batch, sources = config.train.batch_size, config.mixture.sources
    samples = round(config.mixture.segment_seconds * config.model.sample_rate_hz)
    split = meshes.batch_sharding(mesh)
    described = {
        "segments": ((batch, sources, samples), jnp.float32),
        "gains_db": ((batch, sources), jnp.int32),
        "level_db": ((batch,), jnp.float32),
        "absent": ((batch,), jnp.bool_),
        "condition": ((batch, config.model.condition_size), jnp.float32),
    }
    if config.mixture.snr_range_db:
        described["snr_db"] = ((batch,), jnp.float32)
    shapes = {
        name: jax.ShapeDtypeStruct(shape, dtype, sharding=split) for name, (shape, dtype) in described.items()
    }
    return cast(Batch, shapes)


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

    Parameters that are split over `fsdp` are gathered once, before the first part; of a part's gradient,
    summed over all devices, every device keeps its own share, and so do the sums of the parts.
    """
    execution = config.execution.on(mesh.devices.flat[0].platform)
    everywhere, placed = meshes.replicated(mesh), meshes.state_sharding(mesh, params)

    def of_part(
        params: optax.Params, batch_stats: separator.Variables, part: Batch
    ) -> tuple[jax.Array, separator.Variables]:
        mixture, target = mix(
            part["segments"],
            part["gains_db"],
            snr_db=part.get("snr_db"),
            level_db=part["level_db"],
            absent=part["absent"],
        )
        variables = {"params": params, "batch_stats": batch_stats}
        estimate, batch_stats = separator.apply_train(
            config.model, variables, mixture, part["condition"], execution=execution
        )
        loss = waveform_loss(config.train.loss, estimate=estimate, target=target, mixture=mixture)
        return loss, batch_stats

    # The places are said in both directions, or the compiler lets the shares spread into the layers, where
    # it then moves pieces of kernels, or worse of activations, between devices.
    gathered = jax.lax.with_sharding_constraint(params, everywhere)

    def of_gathered(batch_stats: separator.Variables, part: Batch) -> Gradients:
        (loss, batch_stats), gradients = jax.value_and_grad(of_part, has_aux=True)(
            gathered, batch_stats, part
        )
        gradients = jax.lax.with_sharding_constraint(gradients, everywhere)
        return Gradients(loss, jax.lax.with_sharding_constraint(gradients, placed), batch_stats)

    parts = config.execution.microbatches
    if parts == 1:
        return of_gathered(batch_stats, batch)

    def add_part(sums: Gradients, part: Batch) -> tuple[Gradients, None]:
        new = of_gathered(sums.batch_stats, part)
        gradients = jax.tree.map(jnp.add, sums.gradients, new.gradients)
        return Gradients(sums.loss + new.loss, gradients, new.batch_stats), None

    zeros = jax.lax.with_sharding_constraint(jax.tree.map(jnp.zeros_like, params), placed)
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
