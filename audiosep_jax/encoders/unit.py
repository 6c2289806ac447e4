"""Conditions have unit length, whichever tower they come from."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def unit_rows(rows: Float[Array, "batch size"]) -> Float[Array, "batch size"]:
    """Returns each row divided by its length; a row of zeros stays."""
    return rows / jnp.maximum(jnp.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
