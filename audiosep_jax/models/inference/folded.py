"""The separator for inference: BatchNorms are folded, and all FiLM projections are one matrix product.

In evaluation a BatchNorm is `a·x + b` per channel; with FiLM it is `scale·x + shift`, which depend only on
the condition. "shift" (the released model): scale = a, and shift is affine in the condition; the scale of a
norm after a convolution moves into that convolution's kernel. "scale_shift": both are affine in the
condition.
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
    convolutions' kernels and, for "shift", the scales of norms that are not after a convolution. FiLM's
    columns are in the order of the network's norms: for each the scales ("scale_shift" only), then the
    shifts. The released model's unused tensors are left out.
    """
    tree = jax.tree.map(np.asarray, dict(variables))
    params, stats = tree["params"]["resunet"], tree["batch_stats"]["resunet"]
    projections = []

    def norm(params: dict, stats: dict) -> np.ndarray | None:
        scale, shift = _affine(params["bn"], stats["bn"])
        film = jax.tree.map(np.float64, params["film"])
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
        kernel = params["conv1"]["kernel"]
        block["conv1"] = kernel if scale is None else np.float32(kernel * scale)
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
    """Returns the shifts and scales of all norms for a condition."""
    return condition @ folded["film"]["kernel"] + folded["film"]["bias"][None]


def mask_logits(
    config: ModelConfig,
    folded: FoldedParams,
    magnitude: Float[Array, "batch frames bins"],
    columns: Float[Array, "batch columns"],
) -> Float[Array, "batch frames bins 3"]:
    """Returns `ResUNet`'s output in evaluation: logits of the mask and of the rotation's two parts.

    Does not read `folded["film"]`: `columns` are what `film_columns` returns for the condition.
    """
    # Slices are jax.lax calls, because brackets become gathers for a symbolic batch.
    frames = magnitude.shape[1]
    film = Columns(config, columns)
    hidden = pointwise(folded["pre_conv"], normalized(config, folded["bn0"], magnitude))
    strides, skips = pooling_strides(config), []
    for index, stride in enumerate(strides, start=1):
        hidden = residual(folded[f"encoder{index}"], hidden, film)
        skips.append(hidden)
        hidden = average_pool(hidden, stride)
    for index in range(1, config.bottleneck_blocks + 1):
        hidden = residual(folded[f"bottleneck{index}"], hidden, film)
    for index in range(1, len(strides) + 1):
        hidden = decoded(folded[f"decoder{index}"], hidden, skips.pop(), film)
    return cropped(config, pointwise(folded["after_conv"], hidden), frames)


class Columns:
    """The columns of the FiLM projection, taken in the order in which `fold` stacked them."""

    def __init__(self, config: ModelConfig, columns: Float[Array, "batch columns"]) -> None:
        self._columns, self._start = columns, 0
        self._scales = config.film == "scale_shift"

    def activated(self, hidden: Array, scale: Array | None) -> Array:
        """Applies the next norm; `scale` is the norm's, with "shift", or None if it is in a kernel."""
        return activated(hidden, *self.affine(scale, hidden.shape[-1]))

    def affine(self, scale: Array | None, channels: int) -> tuple[Array | None, Array]:
        """Returns the next norm's factor, or None for 1, and its shift, `[batch or 1, 1, 1, channels]`."""
        factor = None if scale is None else scale[None, None, None]
        return self._take(channels) if self._scales else factor, self._take(channels)

    def _take(self, channels: int) -> Array:
        start, self._start = self._start, self._start + channels
        return jax.lax.slice_in_dim(self._columns, start, self._start, axis=1)[:, None, None]


def activated(
    hidden: Float[Array, "batch time freq channels"],
    factor: Float[Array, "rows 1 1 channels"] | None,
    shift: Float[Array, "batch_or_1 1 1 channels"],
) -> Float[Array, "batch time freq channels"]:
    """Applies a norm and its leaky ReLU; a factor of None is 1."""
    hidden = hidden if factor is None else hidden * factor
    return jax.nn.leaky_relu(hidden + shift, NEGATIVE_SLOPE)


def normalized(
    config: ModelConfig, bn0: FoldedParams, magnitude: Float[Array, "batch frames bins"]
) -> Float[Array, "batch time freq patch"]:
    """Returns the network's input: magnitudes normalized, without the highest bin, with padded frames."""
    if config.magnitude_power != 1:
        magnitude = magnitude**config.magnitude_power
    hidden = magnitude * bn0["scale"][None, None] + bn0["shift"][None, None]
    hidden = jnp.pad(hidden, ((0, 0), (0, -magnitude.shape[1] % config.time_multiple), (0, 0)))
    hidden = jax.lax.slice_in_dim(hidden, 0, -1, axis=2)
    return hidden.reshape(*hidden.shape[:2], config.positions, config.patch_bins)


def residual(
    block: FoldedParams, inputs: Float[Array, "batch time freq in"], film: Columns
) -> Float[Array, "batch time freq out"]:
    """Computes a residual block; takes the columns of its two norms."""
    hidden = convolve(film.activated(inputs, block.get("scale")), block["conv1"])
    hidden = convolve(film.activated(hidden, None), block["conv2"])
    return hidden + (pointwise(block["shortcut"], inputs) if "shortcut" in block else inputs)


def decoded(
    block: FoldedParams,
    inputs: Float[Array, "batch time freq in"],
    skip: Float[Array, "batch time2 freq2 out"],
    film: Columns,
) -> Float[Array, "batch time2 freq2 out"]:
    """Computes a decoder; takes the columns of its three norms."""
    raised = upsample(film.activated(inputs, block.get("scale")), block["up"])
    return residual(block["block"], jnp.concatenate([raised, skip], axis=-1), film)


def cropped(
    config: ModelConfig, logits: Float[Array, "batch time freq patch"], frames: int
) -> Float[Array, "batch frames bins 3"]:
    """Returns the logits of every bin, without padded frames, and with zeros for the highest bin."""
    logits = jax.lax.slice_in_dim(logits, 0, frames, axis=1)
    logits = logits.reshape(*logits.shape[:2], config.window_length // 2, 3)
    return jnp.pad(logits, ((0, 0), (0, 0), (0, 1), (0, 0)))


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
    """Separates as `separator.apply` does, within rounding; takes what `fold` returned."""
    folded = jax.tree.map(jnp.asarray, folded)
    columns = film_columns(folded, condition)
    return masking.separate(
        config, mixture, lambda magnitude: masking.activate(mask_logits(config, folded, magnitude, columns))
    )


def _affine(params: dict, stats: dict) -> tuple[np.ndarray, np.ndarray]:
    """Returns scale and shift of a BatchNorm in evaluation."""
    params, stats = (jax.tree.map(np.float64, each) for each in (params, stats))
    scale = params["scale"] / np.sqrt(stats["var"] + BatchNorm.epsilon)
    return scale, params["bias"] - stats["mean"] * scale


def pointwise(
    params: FoldedParams, inputs: Float[Array, "batch time freq in"]
) -> Float[Array, "batch time freq out"]:
    """Convolves 1×1 with a bias."""
    return convolve(inputs, params["kernel"]) + params["bias"][None, None, None]
