"""The programs of a timed run, on a device: many steps with their draws in one call, and the validation."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from audiosep_jax.audio.mixing import mix
from audiosep_jax.config import ExperimentConfig
from audiosep_jax.evals.metrics import sdri_db
from audiosep_jax.models import separator
from audiosep_jax.train import mesh as meshes
from audiosep_jax.train import state as states
from audiosep_jax.train.state import TrainState
from audiosep_jax.train.step import take_step
from data_pipelines.mixtures import device_draws
from data_pipelines.mixtures.device_draws import DeviceClips

VALIDATION_BATCH = 16


def make_steps(
    config: ExperimentConfig, optimizer: optax.GradientTransformation, mesh: Mesh
) -> jax.stages.Wrapped:
    """Returns `(state, clips, count, rate_factor, absent_probability) -> (state, means)`, jitted.

    It takes `count` steps, a number on the device, so calls of any length use one compiled program. Each
    step's mixtures are a function of (`data.seed`, step). `means` has loss and gradient norm of the steps
    that were not skipped, and `skipped` and `failed_step` of the last state. The state is donated.
    """
    rate, batch_size = config.model.sample_rate_hz, config.train.batch_size

    def one_step(
        clips: DeviceClips, factor: jax.Array, absent: jax.Array, carry: tuple[TrainState, jax.Array]
    ) -> tuple[TrainState, jax.Array]:
        state, sums = carry
        draw_key, noise_key = jax.random.split(
            jax.random.fold_in(jax.random.key(config.data.seed), state.step)
        )
        draws = device_draws.draw(
            clips,
            config.mixture,
            config.augment,
            draw_key,
            batch_size=batch_size,
            sample_rate_hz=rate,
            absent_probability=absent,
        )
        batch = device_draws.read(
            clips, draws, config.mixture, config.augment, noise_key, sample_rate_hz=rate
        )
        state, metrics = take_step(config, optimizer, mesh, state, batch, rate_factor=factor)
        values = jnp.stack([metrics.loss, metrics.gradient_norm, jnp.ones_like(metrics.loss)])
        return state, sums + jnp.where(jnp.all(jnp.isfinite(values)), values, 0)

    def steps(
        state: TrainState,
        clips: DeviceClips,
        count: jax.Array,
        rate_factor: jax.Array,
        absent_probability: jax.Array,
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        step = functools.partial(one_step, clips, rate_factor, absent_probability)
        state, sums = jax.lax.fori_loop(
            0, count, lambda _, carry: step(carry), (state, jnp.zeros(3, jnp.float32))
        )
        taken = jnp.maximum(sums[2], 1)
        means = {
            "loss": sums[0] / taken,
            "gradient_norm": sums[1] / taken,
            "skipped": state.skipped,
            "failed_step": state.failed_step,
        }
        return state, means

    everywhere = meshes.replicated(mesh)
    placed = meshes.state_sharding(mesh, states.shapes(config, optimizer))
    # Otherwise the compiler chooses how the new state is placed, and the next call does not fit.
    return jax.jit(steps, donate_argnums=0, out_shardings=(placed, everywhere))


def make_validation(
    config: ExperimentConfig, sounds: np.ndarray, conditions: np.ndarray
) -> Callable[[Any], np.ndarray]:
    """Returns `variables -> SDRi in dB`, float32 `[mixtures]`, of fixed mixtures at 0 dB.

    `sounds` are int16 `[mixtures, 2, samples]`, the target first; `conditions` are `[mixtures, size]`. They
    are put on the device once.
    """
    mixtures = len(sounds)
    batch = min(VALIDATION_BATCH, mixtures)
    missing = -mixtures % batch
    filled = [
        np.concatenate([array, np.repeat(array[:1], missing, axis=0)]) for array in (sounds, conditions)
    ]
    parts = jax.device_put([array.reshape(-1, batch, *array.shape[1:]) for array in filled])

    def measure(variables: Any, sounds: jax.Array, conditions: jax.Array) -> jax.Array:
        def of_part(part: tuple[jax.Array, jax.Array]) -> jax.Array:
            sound, condition = part
            segments = sound.astype(jnp.float32) / 32768
            mixture, target = mix(segments, jnp.zeros(segments.shape[:2], jnp.int32))
            estimate = separator.apply(config.model, variables, mixture, condition.astype(jnp.float32))
            return sdri_db(target, estimate, mixture)  # pyright: ignore[reportReturnType]

        return jax.lax.map(of_part, (sounds, conditions)).reshape(-1)

    program = jax.jit(measure)
    return lambda variables: np.asarray(program(variables, *parts))[:mixtures]
