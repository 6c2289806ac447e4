"""Waveform in, waveform out: STFT, ResUNet, mask, inverse STFT, as pure functions."""

import functools
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import flax.linen as nn
import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from audiosep_jax.config import ExecutionConfig, ModelConfig
from audiosep_jax.models import masking, tree_shapes
from audiosep_jax.models.resunet import ResUNet

Variables = dict[str, Any]


class Separator(nn.Module):
    """Extracts the sound that the condition describes from a mixture."""

    config: ModelConfig
    execution: ExecutionConfig = ExecutionConfig()

    @nn.compact
    def __call__(
        self, mixture: Float[Array, "batch samples"], condition: Float[Array, "batch size"], train: bool
    ) -> Float[Array, "batch samples"]:
        """Returns the estimate, of the mixture's shape."""
        resunet = ResUNet(self.config, self.execution, name="resunet")
        return masking.separate(
            self.config, mixture, lambda magnitude: masking.activate(resunet(magnitude, condition, train))
        )


def init(config: ModelConfig, key: Array) -> Variables:
    """Returns fresh variables: "params" and "batch_stats", trees of float32 arrays.

    Kernels are Xavier uniform (Glorot & Bengio 2010), biases and means 0, scales and variances 1: what the
    modules' own initializers draw from, but from one long draw instead of one compiled program per
    kernel (80 of them take minutes).
    """
    leaves, tree = jax.tree_util.tree_flatten_with_path(shapes(config))
    kernels = [math.prod(leaf.shape) for path, leaf in leaves if path[-1].key == "kernel"]
    draws = jax.random.uniform(key, (sum(kernels),), jnp.float32, minval=-1, maxval=1)
    if not isinstance(draws, jax.core.Tracer):
        draws = np.asarray(draws)  # outside jit every slice of another length would compile
    values, start = [], 0
    for path, leaf in leaves:
        name = path[-1].key
        if name == "kernel":
            *window, size_in, size_out = leaf.shape
            limit = np.float32(math.sqrt(6 / (math.prod(window) * (size_in + size_out))))
            stop = start + math.prod(leaf.shape)
            values.append(limit * draws[start:stop].reshape(leaf.shape))
            start = stop
        else:
            values.append(np.full(leaf.shape, name in ("scale", "var"), np.float32))
    return jax.tree.map(jnp.asarray, jax.tree.unflatten(tree, values))


@functools.lru_cache(maxsize=8)
def flat_shapes(config: ModelConfig) -> Mapping[tuple[str, ...], tuple[int, ...]]:
    """Returns the shape of every variable by its path, such as ("params", "resunet", "bn0", "scale").

    Those of `shapes` without tracing a model, which takes a second; read-only.
    """
    return MappingProxyType(tree_shapes.flat_shapes(config))


def shapes(config: ModelConfig) -> Variables:
    """Returns the variables as `jax.ShapeDtypeStruct`s, at no cost."""
    mixture = jax.ShapeDtypeStruct((1, config.window_length), jnp.float32)
    condition = jax.ShapeDtypeStruct((1, config.condition_size), jnp.float32)
    module_init = functools.partial(Separator(config).init, train=False)
    variables = jax.eval_shape(module_init, jax.random.key(0), mixture, condition)
    return {name: variables[name] for name in ("params", "batch_stats")}


def apply(
    config: ModelConfig,
    variables: Variables,
    mixture: Float[Array, "batch samples"],
    condition: Float[Array, "batch size"],
) -> Float[Array, "batch samples"]:
    """Separates with the running statistics; pure and jit-able for any batch and length.

    Args:
      config: the model's shape.
      variables: as `init` returned them.
      mixture: `[batch, samples]` at `config.sample_rate_hz`.
      condition: `[batch, condition_size]`.

    Returns:
      The estimate, `[batch, samples]`.
    """
    return Separator(config).apply(variables, mixture, condition, train=False)  # pyright: ignore[reportReturnType]


def core(
    config: ModelConfig,
    variables: Variables,
    magnitude: Float[Array, "batch frames bins"],
    condition: Float[Array, "batch size"],
) -> Float[Array, "batch frames bins 3"]:
    """Returns the mask that `apply` lays on the mixture's spectrogram.

    Args:
      config: the model's shape.
      variables: as `init` returned them.
      magnitude: `[batch, frames, window_length // 2 + 1]`, of the STFT.
      condition: `[batch, condition_size]`.

    Returns:
      `[batch, frames, bins, 3]`: the mask of the magnitude in (0, 1), and cosine and sine of the rotation
      of the phase. The estimate's spectrogram is the mixture's times `mask · (cosine + i · sine)`.
    """
    inner = {name: variables[name]["resunet"] for name in ("params", "batch_stats")}
    logits = ResUNet(config).apply(inner, magnitude, condition, train=False)
    return jnp.stack(masking.activate(logits), axis=-1)  # pyright: ignore[reportArgumentType]


def apply_train(
    config: ModelConfig,
    variables: Variables,
    mixture: Float[Array, "batch samples"],
    condition: Float[Array, "batch size"],
    *,
    execution: ExecutionConfig = ExecutionConfig(),
) -> tuple[Float[Array, "batch samples"], Variables]:
    """Separates with the statistics of the batch.

    Args:
      config: the model's shape.
      variables: as `init` returned them.
      mixture: `[batch, samples]` at `config.sample_rate_hz`.
      condition: `[batch, condition_size]`.
      execution: how it is computed; `microbatches` is not this function's.

    Returns:
      The estimate and the updated running statistics. Under `jit` with a batch that is sharded over
      devices the statistics are those of the global batch.
    """
    estimate, updates = Separator(config, execution).apply(
        variables, mixture, condition, train=True, mutable=["batch_stats"]
    )
    return estimate, updates["batch_stats"]  # pyright: ignore[reportReturnType]
