"""What several queries leave each other of one spectrum: arithmetic on masks, without parameters."""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float

# Where no mask is louder than this nobody claims anything, and all shares are nothing.
_SMALLEST = 1e-12


def without(
    gain: Float[Array, "*shape"], negatives: Sequence[Float[Array, "*shape"]]
) -> Float[Array, "*shape"]:
    """Returns what is left of a mask where others are louder: the Wiener gain p² / (p² + Σn²) times it.

    Args:
      gain: of the magnitude, p, in (0, 1).
      negatives: the masks of what must not be heard, n.
    """
    power = gain**2
    return gain * power / jnp.maximum(power + sum(negative**2 for negative in negatives), _SMALLEST)


def stems(gains: Sequence[Float[Array, "*shape"]]) -> list[Float[Array, "*shape"]]:
    """Returns masks whose sum is at most one.

    Each query takes the part of the whole claim that its power has in all power (Wiener 1949); the claim is
    the root of all power, and at most everything. One query alone keeps its mask.

    Args:
      gains: one mask of the magnitude per query, in (0, 1).
    """
    powers = [gain**2 for gain in gains]
    total = jnp.maximum(sum(powers[1:], powers[0]), _SMALLEST)
    scale = jnp.minimum(jnp.sqrt(total), 1) / total
    return [power * scale for power in powers]
