"""Waveform in, waveform out: STFT, ResUNet, mask, inverse STFT, as pure functions."""

import functools
import math
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import flax.linen as nn
import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from audiosep_jax.config import ExecutionConfig, ModelConfig
from audiosep_jax.models import masking
from audiosep_jax.models.resunet import ResUNet

Variables = dict[str, Any]
Shape = tuple[int, ...]
Path = tuple[str, ...]


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

    Kernels are Xavier uniform (Glorot & Bengio 2010), biases and means 0, scales and variances 1, as the
    modules' own initializers. All kernels come from one long draw, because a compiled program per kernel (80
    of them) takes minutes.
    """
    leaves, tree = jax.tree_util.tree_flatten_with_path(shapes(config))
    kernels = [math.prod(leaf.shape) for path, leaf in leaves if path[-1].key == "kernel"]
    draws = jax.random.uniform(key, (sum(kernels),), jnp.float32, minval=-1, maxval=1)
    if not isinstance(draws, jax.core.Tracer):
        draws = np.asarray(draws)  # outside jit, every slice of another length would be compiled
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
def flat_shapes(config: ModelConfig) -> Mapping[Path, Shape]:
    """Returns the shape of every variable by its path, such as ("params", "resunet", "bn0", "scale").

    Equal to those of `shapes` and in the same order, but written down, because tracing the modules takes a
    second. Read-only.
    """
    return MappingProxyType(dict(sorted(_shapes(config))))


def shapes(config: ModelConfig) -> Variables:
    """Returns the variables as `jax.ShapeDtypeStruct`s, without computing them."""
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
    """Returns the mask that `apply` multiplies the mixture's spectrogram by.

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
      execution: how it is computed; `microbatches` is ignored.

    Returns:
      The estimate and the updated running statistics. Under `jit`, with a batch that is sharded over
      devices, the statistics are those of the global batch.
    """
    estimate, updates = Separator(config, execution).apply(
        variables, mixture, condition, train=True, mutable=["batch_stats"]
    )
    return estimate, updates["batch_stats"]  # pyright: ignore[reportReturnType]


def _shapes(config: ModelConfig) -> Iterator[tuple[Path, Shape]]:
    widths, bins = config.encoder_widths, config.window_length // 2 + 1
    yield from _norm(("bn0",), bins)
    yield from _pointwise(("pre_conv",), config.patch_bins, widths[0])
    yield from _pointwise(("after_conv",), widths[0], 3 * config.patch_bins)
    below = widths[0]
    for index, width in enumerate(widths, start=1):
        yield from _residual(config, (f"encoder{index}",), below, width)
        below = width
    for index in range(1, config.bottleneck_blocks + 1):
        yield from _residual(config, (f"bottleneck{index}",), below, below)
    for index, width in enumerate(reversed(widths), start=1):
        name = (f"decoder{index}",)
        yield from _film_norm(config, (*name, "norm"), below)
        if config.unused_tensors:
            yield from _film_norm(config, (*name, "unused_norm"), below)
        # The block of the lowest level is the only one that does not pool time.
        yield _parameter(*name, "up", "kernel"), (1 if index == 1 else 2, 2, below, width)
        yield from _residual(config, (*name, "block"), 2 * width, width)
        below = width


def _residual(config: ModelConfig, name: Path, inputs: int, outputs: int) -> Iterator[tuple[Path, Shape]]:
    yield from _film_norm(config, (*name, "norm1"), inputs)
    yield from _film_norm(config, (*name, "norm2"), outputs)
    yield _parameter(*name, "conv1", "kernel"), (3, 3, inputs, outputs)
    yield _parameter(*name, "conv2", "kernel"), (3, 3, outputs, outputs)
    if inputs != outputs:
        yield from _pointwise((*name, "shortcut"), inputs, outputs)


def _film_norm(config: ModelConfig, name: Path, channels: int) -> Iterator[tuple[Path, Shape]]:
    yield from _norm((*name, "bn"), channels)
    for kind in ("shift",) if config.film == "shift" else ("scale", "shift"):
        yield _parameter(*name, "film", kind, "kernel"), (config.condition_size, channels)
        yield _parameter(*name, "film", kind, "bias"), (channels,)


def _norm(name: Path, channels: int) -> Iterator[tuple[Path, Shape]]:
    for part in ("scale", "bias"):
        yield _parameter(*name, part), (channels,)
    for part in ("mean", "var"):
        yield ("batch_stats", "resunet", *name, part), (channels,)


def _pointwise(name: Path, inputs: int, outputs: int) -> Iterator[tuple[Path, Shape]]:
    yield _parameter(*name, "kernel"), (1, 1, inputs, outputs)
    yield _parameter(*name, "bias"), (outputs,)


def _parameter(*name: str) -> Path:
    return ("params", "resunet", *name)
