"""One training step: mix, separate, compare, update."""

import dataclasses
from typing import Protocol, cast

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from audiosep_jax.config import ExperimentConfig
from audiosep_jax.train import mesh as meshes
from audiosep_jax.train import state as states
from audiosep_jax.train.gradients import Batch, batch_gradients
from audiosep_jax.train.state import NEVER, TrainState


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class StepMetrics:
    """Scalars of one step, on the device.

    Attributes:
      loss: before the update.
      gradient_norm: global l2 norm.
      failed_step: as in the state after the step.
      skipped: as in the state after the step.
    """

    loss: jax.Array
    gradient_norm: jax.Array
    failed_step: jax.Array
    skipped: jax.Array


class TrainStep(Protocol):
    """A jitted step: call it, or take it through JAX's stages of compiling."""

    def __call__(self, state: TrainState, batch: Batch) -> tuple[TrainState, StepMetrics]:
        """Returns the state after the step; the one before is gone."""
        ...

    def trace(self, state: TrainState, batch: Batch) -> jax.stages.Traced:
        """Traces for arrays or shapes."""
        ...

    def lower(self, state: TrainState, batch: Batch) -> jax.stages.Lowered:
        """Traces and lowers for arrays or shapes."""
        ...


def make_train_step(
    config: ExperimentConfig, optimizer: optax.GradientTransformation, mesh: Mesh
) -> TrainStep:
    """Returns the jitted step over a mesh: the batch split over all devices, the state donated.

    The state lies as `meshes.state_sharding` says, before and after, so that the step compiles once: with
    `fsdp` the parameters are gathered at the start of a step, and every device updates its own share of them.

    A step whose loss or gradient is not finite changes nothing. With `on_non_finite="stop"` all steps after
    it change nothing either; with "skip" it is counted in `skipped` and the next goes on as if its batch had
    not been: neither the learning rate nor the average moves.

    Call it inside `jax.set_mesh(mesh)`, which keeps the transforms of the STFT on the devices that hold
    their examples.
    """
    everywhere, split = meshes.replicated(mesh), meshes.batch_sharding(mesh)
    placed = meshes.state_sharding(mesh, states.shapes(config, optimizer))

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, StepMetrics]:
        loss, gradients, batch_stats = batch_gradients(config, state.params, state.batch_stats, batch, mesh)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
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

    step = jax.jit(
        train_step,
        in_shardings=(placed, split),
        out_shardings=(placed, everywhere),
        donate_argnums=0,
    )
    return cast(TrainStep, step)


def _averaged(state: TrainState, params: optax.Params, decay: float) -> optax.Params | None:
    """Returns the moving average after an update to `params`.

    The old average has the share min(decay, (1 + t) / (10 + t)) after t updates, as TensorFlow's
    `ExponentialMovingAverage` has it with `num_updates`: the first values are forgotten soon.
    """
    if state.ema is None:
        return None
    updates = (state.step - state.skipped).astype(jnp.float32)
    share = jnp.minimum(decay, (1 + updates) / (10 + updates))
    return jax.tree.map(lambda average, new: new + share * (average - new), state.ema, params)
