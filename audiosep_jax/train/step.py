"""One training step: mix, separate, compute loss and gradient, update."""

import dataclasses
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, PartitionSpec

from audiosep_jax.audio.mixing import mix
from audiosep_jax.config import ExperimentConfig
from audiosep_jax.models import separator
from audiosep_jax.train import mesh as meshes
from audiosep_jax.train import state as states
from audiosep_jax.train.loss import waveform_loss
from audiosep_jax.train.state import NEVER, TrainState

Batch = dict[str, jax.Array]
"""Arrays of a `MixtureBatch`: segments, gains_db, level_db, absent, condition; snr_db if recipes have it."""


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


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class StepMetrics:
    """Scalars of one step, on the device: the loss before the update, and the gradient's global l2 norm.

    `failed_step` and `skipped` are those of the state after the step.
    """

    loss: jax.Array
    gradient_norm: jax.Array
    failed_step: jax.Array
    skipped: jax.Array


def make_train_step(
    config: ExperimentConfig, optimizer: optax.GradientTransformation, mesh: Mesh
) -> jax.stages.Wrapped:
    """Returns the jitted step over a mesh: `(state, batch) -> (state, metrics)`.

    The batch is split over all devices, and the state is donated.

    The state has the sharding of `meshes.state_sharding` before and after, so that the step compiles once.
    With `fsdp` the parameters are gathered at the start of a step, and every device updates its own share.

    A step whose loss or gradient is not finite changes nothing. With `on_non_finite="stop"` all later steps
    change nothing either. With "skip" it is counted in `skipped`, and training continues as if its batch did
    not exist: learning rate and average stay.

    Call it inside `jax.set_mesh(mesh)`: then the STFT of every example stays on the device that holds it.
    """
    everywhere, split = meshes.replicated(mesh), meshes.batch_sharding(mesh)
    placed = meshes.state_sharding(mesh, states.shapes(config, optimizer))

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, StepMetrics]:
        return take_step(config, optimizer, mesh, state, batch)

    return jax.jit(
        train_step, in_shardings=(placed, split), out_shardings=(placed, everywhere), donate_argnums=0
    )


def take_step(
    config: ExperimentConfig,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    state: TrainState,
    batch: Batch,
    *,
    rate_factor: jax.Array | None = None,
) -> tuple[TrainState, StepMetrics]:
    """Takes the step of `make_train_step`, as a part of a larger program.

    `rate_factor` multiplies the learning rate, and with it the whole update.
    """
    loss, gradients, batch_stats = batch_gradients(config, state.params, state.batch_stats, batch, mesh)
    updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
    if rate_factor is not None:
        updates = jax.tree.map(lambda update: update * rate_factor, updates)
    params = optax.apply_updates(state.params, updates)
    new = dataclasses.replace(
        state,
        step=state.step + 1,
        params=params,
        batch_stats=batch_stats,
        opt_state=opt_state,
        ema=_averaged(state, params, config.train.ema_decay),
    )
    gradient_norm = optax.tree.norm(gradients)
    finite = jnp.isfinite(loss) & jnp.isfinite(gradient_norm)
    healthy = finite & (state.failed_step == NEVER)
    if config.train.on_non_finite == "skip":
        kept = dataclasses.replace(state, step=state.step + 1, skipped=state.skipped + 1)
    else:
        failed_step = jnp.where((state.failed_step == NEVER) & ~finite, state.step, state.failed_step)
        kept = dataclasses.replace(state, failed_step=failed_step)
    new = jax.tree.map(lambda after, before: jnp.where(healthy, after, before), new, kept)
    metrics = StepMetrics(
        loss=loss, gradient_norm=gradient_norm, failed_step=new.failed_step, skipped=new.skipped
    )
    return new, metrics


def _averaged(state: TrainState, params: optax.Params, decay: float) -> optax.Params | None:
    """Returns the moving average after an update to `params`.

    The old average has the share min(decay, (1 + t) / (10 + t)) after t updates, as TensorFlow's
    `ExponentialMovingAverage` has it with `num_updates`: the first values soon lose their weight.
    """
    if state.ema is None:
        return None
    updates = (state.step - state.skipped).astype(jnp.float32)
    share = jnp.minimum(decay, (1 + updates) / (10 + updates))
    return jax.tree.map(lambda average, new: new + share * (average - new), state.ema, params)


class Gradients(NamedTuple):
    """Mean loss, its gradient, and the running statistics after the batch."""

    loss: jax.Array
    gradients: optax.Updates
    batch_stats: separator.Variables


def batch_gradients(
    config: ExperimentConfig, params: optax.Params, batch_stats: separator.Variables, batch: Batch, mesh: Mesh
) -> Gradients:
    """Returns loss and gradient of a batch, computed in `execution.microbatches` parts of equal size.

    To BatchNorm each part is a batch: it is normalized by its own mean and variance over all devices, and
    updates the running statistics once, one part after the other. Loss and gradient are means over the
    parts, so the gradient is that of the mean loss over the whole batch. Without BatchNorm only rounding
    would depend on the number of parts.

    Parameters that are split over `fsdp` are gathered once, before the first part. Every device keeps its own
    share of each part's gradient and of their sum.
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
        loss = waveform_loss(
            config.train.loss,
            estimate=estimate,
            target=target,
            mixture=mixture,
            silence_floor_db=config.train.silence_floor_db,
        )
        return loss, batch_stats

    # Both directions are constrained. Otherwise the compiler splits the layers too, and moves pieces of
    # kernels, or even of activations, between devices.
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
