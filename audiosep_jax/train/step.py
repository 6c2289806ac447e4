"""One training step: mix, separate, compare, update."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from audiosep_jax.audio.mixing import mix
from audiosep_jax.config import ExperimentConfig
from audiosep_jax.models import separator
from audiosep_jax.train import mesh as meshes
from audiosep_jax.train.loss import waveform_loss
from audiosep_jax.train.state import NEVER, TrainState

Batch = dict[str, jax.Array]
"""Arrays of a `MixtureBatch`: segments, gains_db, level_db, absent, condition."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class StepMetrics:
    """Scalars of one step, on the device.

    Attributes:
      loss: before the update.
      gradient_norm: global l2 norm.
      failed_step: as in the state after the step.
    """

    loss: jax.Array
    gradient_norm: jax.Array
    failed_step: jax.Array


TrainStep = Callable[[TrainState, Batch], tuple[TrainState, StepMetrics]]


def make_train_step(
    config: ExperimentConfig, optimizer: optax.GradientTransformation, mesh: Mesh
) -> TrainStep:
    """Returns the jitted step over a mesh: the batch split, the state on every device and donated.

    Call it inside `jax.set_mesh(mesh)`, which keeps the transforms of the STFT on the devices that hold
    their examples.
    """

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, StepMetrics]:
        mixture, target = mix(
            batch["segments"], batch["gains_db"], level_db=batch["level_db"], absent=batch["absent"]
        )

        def loss_of(params: optax.Params) -> tuple[jax.Array, separator.Variables]:
            variables = {"params": params, "batch_stats": state.batch_stats}
            estimate, batch_stats = separator.apply_train(
                config.model, variables, mixture, batch["condition"]
            )
            loss = waveform_loss(config.train.loss, estimate=estimate, target=target, mixture=mixture)
            return loss, batch_stats

        (loss, batch_stats), gradients = jax.value_and_grad(loss_of, has_aux=True)(state.params)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        gradient_norm = optax.tree.norm(gradients)
        finite = jnp.isfinite(loss) & jnp.isfinite(gradient_norm)
        healthy = finite & (state.failed_step == NEVER)
        failed_step = jnp.where((state.failed_step == NEVER) & ~finite, state.step, state.failed_step)
        new = TrainState(
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            batch_stats=batch_stats,
            opt_state=opt_state,
            failed_step=failed_step,
        )
        kept = dataclasses.replace(state, failed_step=failed_step)
        new = jax.tree.map(lambda after, before: jnp.where(healthy, after, before), new, kept)
        return new, StepMetrics(loss=loss, gradient_norm=gradient_norm, failed_step=failed_step)

    everywhere, split = meshes.replicated(mesh), meshes.batch_sharding(mesh)
    return jax.jit(
        train_step,
        in_shardings=(everywhere, split),
        out_shardings=(everywhere, everywhere),
        donate_argnums=0,
    )
