"""The inference engine: work per model (`prepare`), per query (`columns`) and per window (`apply`)."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32

from audiosep_jax.config import ModelConfig
from audiosep_jax.models import masking
from audiosep_jax.models.inference import folded, strips
from audiosep_jax.models.separator import Variables

Params = dict[str, Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Engine:
    """A model that is ready to separate, from `prepare`."""

    config: ModelConfig
    params: Params  # what `apply` takes, on the device
    film: dict[str, np.ndarray]  # kernel `[condition_size, columns]` and bias of all FiLM projections
    in_strips: bool  # whether the network is `strips`, for processors, or `folded`

    def columns(
        self, conditions: Float[Array | np.ndarray, "queries size"]
    ) -> Float32[np.ndarray, "queries columns"]:
        """Returns the FiLM columns of queries, the network's second input; computed once per query."""
        projected = np.asarray(conditions, np.float32) @ self.film["kernel"] + self.film["bias"]
        return projected.astype(np.float32)

    def apply(
        self, params: Params, mixture: Float[Array, "rows samples"], columns: Float[Array, "rows columns"]
    ) -> Float[Array, "rows samples"]:
        """Separates; pure and jit-able (`cpu_compile.jit`) for any number of rows and any length.

        Takes the attribute `params`, and each row's columns as `columns` returns them. The estimate equals
        `separator.apply`'s within rounding.
        """
        return masking.separate(self.config, mixture, lambda magnitude: self.mask(params, magnitude, columns))

    def mask(
        self,
        params: Params,
        magnitude: Float[Array, "rows frames bins"],
        columns: Float[Array, "rows columns"],
    ) -> masking.Mask:
        """Returns the mask that `apply` multiplies the mixture's spectrum by; pure and jit-able.

        It is the mask of the magnitude, and cosine and sine of the rotation of the phase, `[rows, frames,
        bins]` each.
        """
        network = strips if self.in_strips else folded
        return masking.activate(network.mask_logits(self.config, params, magnitude, columns))


def prepare(config: ModelConfig, variables: Variables) -> Engine:
    """Returns an engine whose BatchNorms are folded away, from the separator's "params" and "batch_stats"."""
    params = folded.fold(config, variables)
    film = params.pop("film")
    in_strips = jax.default_backend() == "cpu"
    return Engine(config, jax.tree.map(jnp.asarray, params), film, in_strips)
