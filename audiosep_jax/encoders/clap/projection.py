"""The head of both CLAP towers: two dense layers into the common space, and unit length."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from audiosep_jax.encoders.bert import ACTIVATIONS
from audiosep_jax.encoders.unit import unit_rows


class Projection(nn.Module):
    """Dense, activation, dense."""

    size: int
    activation: str

    @nn.compact
    def __call__(self, pooled: Float[Array, "batch inputs"]) -> Float[Array, "batch size"]:
        """Returns a vector per pooled output, of any length."""
        inner = ACTIVATIONS[self.activation](nn.Dense(self.size, name="inner")(pooled))
        return nn.Dense(self.size, name="outer")(inner)


def apply(
    params: Mapping[str, Any], pooled: Float[Array, "batch inputs"], *, size: int, activation: str
) -> Float[Array, "batch size"]:
    """Returns the unit vectors of pooled outputs. Pure and jit-able; float32 products on every platform.

    Args:
      params: "inner" and "outer", each a kernel and a bias.
      pooled: outputs of a tower.
      size: of the common space.
      activation: a name in `bert.ACTIVATIONS`.
    """
    with jax.default_matmul_precision("highest"):
        projected: Array = Projection(size, activation).apply({"params": params}, pooled)  # pyright: ignore[reportAssignmentType]
    return unit_rows(projected)
