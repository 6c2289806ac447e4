"""Optax optimizers and the reference's schedule, with PyTorch's AMSGrad."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
import optax.contrib

from audiosep_jax.config import OptimizerConfig

_MUON_BETA = 0.95
# Root mean square of an update of Muon: that of Adam's updates (Liu et al. 2025, "Muon is scalable").
_MUON_RMS = 0.2
_ADAM_LAYERS = ("pre_conv", "after_conv")


class AmsgradState(NamedTuple):
    """Moments, and the running maximum of the raw second moment."""

    steps: jax.Array
    mu: optax.Updates
    nu: optax.Updates
    nu_max: optax.Updates


def make_schedule(config: OptimizerConfig, steps: int) -> optax.Schedule:
    """Returns the learning rate by step: constant warm-up pieces, the full rate, a cosine at the end.

    The reference multiplies the rate by 0.001, 0.01, 0.1 for 10,000 steps each, then by 1.
    """
    factors = [*config.warmup_factors, 1.0] if config.warmup_steps else [1.0]
    boundaries = [config.warmup_steps * (i + 1) for i in range(len(factors) - 1)]
    rates = jnp.asarray(factors) * config.learning_rate

    def schedule(step: jax.typing.ArrayLike) -> jax.Array:
        step = jnp.asarray(step)
        rate = (
            rates[jnp.searchsorted(jnp.asarray(boundaries), step, side="right")] if boundaries else rates[0]
        )
        if config.decay_steps:
            passed = jnp.clip((step - (steps - config.decay_steps)) / config.decay_steps, 0, 1)
            rate = rate * 0.5 * (1 + jnp.cos(jnp.pi * passed))
        return rate

    return schedule


def make_optimizer(config: OptimizerConfig, steps: int) -> optax.GradientTransformation:
    """Returns the optimizer that a config names."""
    if config.kind == "muon":
        return _muon(config, make_schedule(config, steps))
    scale = scale_by_pytorch_amsgrad if config.kind == "adamw_amsgrad" else optax.scale_by_adam
    parts = [scale(b1=config.beta1, b2=config.beta2, eps=config.epsilon)]
    if config.kind != "adam" and config.weight_decay:
        parts.append(optax.add_decayed_weights(config.weight_decay))
    return optax.chain(*parts, optax.scale_by_learning_rate(make_schedule(config, steps)))


def _muon(config: OptimizerConfig, schedule: optax.Schedule) -> optax.GradientTransformation:
    return optax.contrib.muon(
        schedule,
        beta=_MUON_BETA,
        eps=config.epsilon,
        weight_decay=config.weight_decay,
        adam_b1=config.beta1,
        adam_b2=config.beta2,
        adam_weight_decay=config.weight_decay,
        muon_weight_dimension_numbers=_matrices,
        consistent_rms=_MUON_RMS,
    )


def _matrices(params: optax.Params) -> Any:
    """Returns which axes of a kernel are the inputs and the output of a matrix; None for all other leaves."""

    def of(path: tuple, leaf: Any) -> optax.contrib.MuonDimensionNumbers | None:
        if path[-1].key != "kernel" or path[-2].key in _ADAM_LAYERS:
            return None
        return optax.contrib.MuonDimensionNumbers(tuple(range(leaf.ndim - 1)), leaf.ndim - 1)

    return jax.tree_util.tree_map_with_path(of, params)


def scale_by_pytorch_amsgrad(*, b1: float, b2: float, eps: float) -> optax.GradientTransformation:
    """AMSGrad (Reddi et al. 2018) as `torch.optim.AdamW(amsgrad=True)` computes it.

    PyTorch keeps the running maximum of the raw second moment and corrects its bias afterwards;
    `optax.scale_by_amsgrad` keeps the maximum of the corrected moment.
    """

    def init(params: optax.Params) -> AmsgradState:
        # Three separate trees: a step that donates its state cannot donate the same buffer twice.
        mu, nu, nu_max = (jax.tree.map(jnp.zeros_like, params) for _ in range(3))
        return AmsgradState(jnp.zeros([], jnp.int32), mu, nu, nu_max)

    def update(
        updates: optax.Updates, state: AmsgradState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, AmsgradState]:
        del params
        count = state.steps + 1
        mu = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mu, updates)
        nu = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, state.nu, updates)
        nu_max = jax.tree.map(jnp.maximum, state.nu_max, nu)
        correction1 = 1 - jnp.power(b1, count.astype(jnp.float32))
        correction2 = 1 - jnp.power(b2, count.astype(jnp.float32))
        scaled = jax.tree.map(
            lambda m, v: (m / correction1) / (jnp.sqrt(v) / jnp.sqrt(correction2) + eps), mu, nu_max
        )
        return scaled, AmsgradState(count, mu, nu, nu_max)

    return optax.GradientTransformation(init, update)  # pyright: ignore[reportArgumentType]
