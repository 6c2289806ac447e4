"""The separator for inference: BatchNorm is folded away, and all FiLM projections are one matrix product.

In evaluation a BatchNorm is `a·x + b` per channel, and FiLM makes of it `scale·x + shift` with numbers that
depend on nothing but the condition. "shift" (the released model): scale = a, and shift is affine in the
condition. The scale of a norm behind a convolution moves into that convolution's kernel. "scale_shift": both
are affine in the condition.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from audiosep_jax.config import ModelConfig
from audiosep_jax.models import masking
from audiosep_jax.models.convolution import average_pool, convolve, upsample
from audiosep_jax.models.layers import BatchNorm
from audiosep_jax.models.normalization import NEGATIVE_SLOPE
from audiosep_jax.models.resunet import pooling_strides

FoldedParams = dict[str, Any]


def fold(config: ModelConfig, variables: dict[str, Any]) -> FoldedParams:
    """Folds the statistics and the affine parameters of every BatchNorm.

    Computed in float64, returned in float32 NumPy arrays. The tree: `bn0` (scale and shift per frequency
    bin), `film` (kernel `[condition_size, columns]` and bias), `pre_conv`, `after_conv`, and per block its
    convolutions' kernels and, for "shift", the scales of those norms that no convolution could take. FiLM's
    columns stand in the order in which the network meets its norms: for each the scales ("scale_shift"
    only), then the shifts. The tensors that the released model never uses are left out.

    Args:
      config: the model's shape.
      variables: "params" and "batch_stats" of the separator.
    """
    tree = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), dict(variables))
    params, stats = tree["params"]["resunet"], tree["batch_stats"]["resunet"]
    projections = []

    def norm(params: dict, stats: dict) -> np.ndarray | None:
        scale, shift = _affine(params["bn"], stats["bn"])
        film = params["film"]
        if config.film == "scale_shift":
            gain = {"kernel": film["scale"]["kernel"], "bias": 1 + film["scale"]["bias"]}
            projections.append(jax.tree.map(lambda value: value * scale, gain))
            projections.append(
                jax.tree.map(lambda value, offset: value * shift + offset, gain, film["shift"])
            )
            return None
        projections.append({**film["shift"], "bias": film["shift"]["bias"] + shift})
        return scale

    def residual(params: dict, stats: dict) -> FoldedParams:
        scale = norm(params["norm1"], stats["norm1"])
        block: FoldedParams = {} if scale is None else {"scale": scale}
        scale = norm(params["norm2"], stats["norm2"])
        block["conv1"] = params["conv1"]["kernel"] * (1 if scale is None else scale)
        block["conv2"] = params["conv2"]["kernel"]
        if "shortcut" in params:
            block["shortcut"] = params["shortcut"]
        return block

    def decoder(params: dict, stats: dict) -> FoldedParams:
        scale = norm(params["norm"], stats["norm"])
        block: FoldedParams = {} if scale is None else {"scale": scale}
        block["up"] = params["up"]["kernel"]
        block["block"] = residual(params["block"], stats["block"])
        return block

    scale, shift = _affine(params["bn0"], stats["bn0"])
    folded: FoldedParams = {"bn0": {"scale": scale, "shift": shift}}
    folded |= {name: params[name] for name in ("pre_conv", "after_conv")}
    for name in block_names(config):
        folded[name] = (decoder if name.startswith("decoder") else residual)(params[name], stats[name])
    folded["film"] = {
        part: np.concatenate([one[part] for one in projections], axis=-1) for part in ("kernel", "bias")
    }
    return jax.tree.map(lambda leaf: np.ascontiguousarray(leaf, np.float32), folded)


def block_names(config: ModelConfig) -> list[str]:
    """Returns the names of the residual and decoder blocks in the order of the network."""
    depth = len(config.encoder_widths)
    kinds = (("encoder", depth), ("bottleneck", config.bottleneck_blocks), ("decoder", depth))
    return [f"{kind}{index}" for kind, count in kinds for index in range(1, count + 1)]


def film_columns(
    folded: FoldedParams, condition: Float[Array, "batch size"]
) -> Float[Array, "batch columns"]:
    """Returns what the network adds to its norms, and multiplies them by, for a condition."""
    return condition @ folded["film"]["kernel"] + folded["film"]["bias"][None]


def mask_logits(
    config: ModelConfig,
    folded: FoldedParams,
    magnitude: Float[Array, "batch frames bins"],
    columns: Float[Array, "batch columns"],
) -> Float[Array, "batch frames bins 3"]:
    """Returns what `ResUNet` returns in evaluation: logits of the mask, and of the rotation's two parts.

    Args:
      config: the model's shape.
      folded: as `fold` returned it; "film" is not read.
      magnitude: `[batch, frames, bins]`.
      columns: as `film_columns` returns them for the condition.
    """
    # Parts are taken by jax.lax, not by brackets, which become gathers where the batch is symbolic.
    frames = magnitude.shape[1]
    film = _Columns(columns)

    def activated(hidden: Array, scale: Array | None) -> Array:
        channels = hidden.shape[-1]
        factor = film.take(channels) if scale is None else scale[None, None, None]
        return jax.nn.leaky_relu(hidden * factor + film.take(channels), NEGATIVE_SLOPE)

    def residual(block: FoldedParams, inputs: Array) -> Array:
        hidden = convolve(activated(inputs, block.get("scale")), block["conv1"])
        factor = film.take(hidden.shape[-1]) if config.film == "scale_shift" else None
        hidden = hidden if factor is None else hidden * factor
        hidden = jax.nn.leaky_relu(hidden + film.take(hidden.shape[-1]), NEGATIVE_SLOPE)
        hidden = convolve(hidden, block["conv2"])
        return hidden + (_pointwise(block["shortcut"], inputs) if "shortcut" in block else inputs)

    if config.magnitude_power != 1:
        magnitude = magnitude**config.magnitude_power
    hidden = magnitude * folded["bn0"]["scale"][None, None] + folded["bn0"]["shift"][None, None]
    hidden = jnp.pad(hidden, ((0, 0), (0, -frames % config.time_multiple), (0, 0)))
    hidden = jax.lax.slice_in_dim(hidden, 0, -1, axis=2)[..., None]
    hidden = _pointwise(folded["pre_conv"], hidden)
    strides, skips = pooling_strides(config), []
    for index, stride in enumerate(strides, start=1):
        hidden = residual(folded[f"encoder{index}"], hidden)
        skips.append(hidden)
        hidden = average_pool(hidden, stride)
    for index in range(1, config.bottleneck_blocks + 1):
        hidden = residual(folded[f"bottleneck{index}"], hidden)
    for index in range(1, len(strides) + 1):
        block = folded[f"decoder{index}"]
        hidden = upsample(activated(hidden, block.get("scale")), block["up"])
        hidden = residual(block["block"], jnp.concatenate([hidden, skips.pop()], axis=-1))
    logits = _pointwise(folded["after_conv"], hidden)
    return jnp.pad(jax.lax.slice_in_dim(logits, 0, frames, axis=1), ((0, 0), (0, 0), (0, 1), (0, 0)))


def core(
    config: ModelConfig,
    folded: FoldedParams,
    magnitude: Float[Array, "batch frames bins"],
    condition: Float[Array, "batch size"],
) -> Float[Array, "batch frames bins 3"]:
    """Returns the mask as `separator.core` does, `[batch, frames, bins, 3]`, within rounding."""
    folded = jax.tree.map(jnp.asarray, folded)
    columns = film_columns(folded, condition)
    return jnp.stack(masking.activate(mask_logits(config, folded, magnitude, columns)), axis=-1)


def apply(
    config: ModelConfig,
    folded: FoldedParams,
    mixture: Float[Array, "batch samples"],
    condition: Float[Array, "batch size"],
) -> Float[Array, "batch samples"]:
    """Separates as `separator.apply` does, within rounding.

    Args:
      config: the model's shape.
      folded: as `fold` returned it.
      mixture: `[batch, samples]` at `config.sample_rate_hz`.
      condition: `[batch, condition_size]`.

    Returns:
      The estimate, `[batch, samples]`.
    """
    folded = jax.tree.map(jnp.asarray, folded)
    columns = film_columns(folded, condition)
    return masking.separate(
        config, mixture, lambda magnitude: masking.activate(mask_logits(config, folded, magnitude, columns))
    )


class _Columns:
    """Hands out the columns of the FiLM projection in the order in which `fold` stacked them."""

    def __init__(self, projected: Array) -> None:
        self._projected, self._start = projected, 0

    def take(self, channels: int) -> Array:
        """Returns the next `[batch, 1, 1, channels]`."""
        start, self._start = self._start, self._start + channels
        return jax.lax.slice_in_dim(self._projected, start, self._start, axis=1)[:, None, None]


def _affine(params: dict, stats: dict) -> tuple[np.ndarray, np.ndarray]:
    """Returns scale and shift of a BatchNorm in evaluation."""
    scale = params["scale"] / np.sqrt(stats["var"] + BatchNorm.epsilon)
    return scale, params["bias"] - stats["mean"] * scale


def _pointwise(params: FoldedParams, inputs: Array) -> Array:
    return convolve(inputs, params["kernel"]) + params["bias"][None, None, None]
