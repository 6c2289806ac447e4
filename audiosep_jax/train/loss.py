"""What training minimises, on waveforms."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from audiosep_jax.config import LossKind

_FLOOR_RATIO = 1e-3
_SMALLEST_ENERGY = 1e-8


def waveform_loss(
    kind: LossKind,
    *,
    estimate: Float[Array, "batch samples"],
    target: Float[Array, "batch samples"],
    mixture: Float[Array, "batch samples"],
) -> Float[Array, ""]:
    """Returns the mean loss of a batch.

    "l1" is the mean absolute error (the reference). "snr" is the mean over examples of
    `10 log10((|target - estimate|² + ε|mixture|²) / |mixture|²)`, with ε = 0.001 as the soft limit of Wisdom
    et al. 2020 ("Unsupervised sound separation using mixture invariant training"). The mixture in the
    denominator, where that article has the target, differs by a constant per example and also measures silent
    targets.
    """
    if kind == "l1":
        return jnp.mean(jnp.abs(estimate - target))
    mixture_energy = jnp.mean(mixture**2, axis=-1) + _SMALLEST_ENERGY
    error_energy = jnp.mean((estimate - target) ** 2, axis=-1)
    return jnp.mean(10 * jnp.log10(error_energy / mixture_energy + _FLOOR_RATIO))
