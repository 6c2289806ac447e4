"""What training minimises, on waveforms."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from audiosep_jax.config import LossKind

FLOOR_DB = -30.0
_SMALLEST_ENERGY = 1e-8


def waveform_loss(
    kind: LossKind,
    *,
    estimate: Float[Array, "batch samples"],
    target: Float[Array, "batch samples"],
    mixture: Float[Array, "batch samples"],
    silence_floor_db: float = FLOOR_DB,
) -> Float[Array, ""]:
    """Returns the mean loss of a batch.

    "l1" is the mean absolute error (the reference). "snr" is the mean over examples of
    `10 log10((|target - estimate|² + ε|mixture|²) / |mixture|²)`, with ε = 0.001 as the soft limit of Wisdom
    et al. 2020 ("Unsupervised sound separation using mixture invariant training"). The mixture in the
    denominator, where that article has the target, differs by a constant per example and also measures silent
    targets. Their soft limit is `silence_floor_db`: a higher one keeps examples without a target, which can
    reach any limit, from outweighing the others.
    """
    if kind == "l1":
        return jnp.mean(jnp.abs(estimate - target))
    mixture_energy = jnp.mean(mixture**2, axis=-1) + _SMALLEST_ENERGY
    error_energy = jnp.mean((estimate - target) ** 2, axis=-1)
    silent = jnp.max(jnp.abs(target), axis=-1) == 0
    floor = jnp.where(silent, 10 ** (silence_floor_db / 10), 10 ** (FLOOR_DB / 10))
    return jnp.mean(10 * jnp.log10(error_energy / mixture_energy + floor))
