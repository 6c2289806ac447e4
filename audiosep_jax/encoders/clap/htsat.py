"""HTSAT, CLAP's audio tower, in Flax Linen: a Swin transformer from log-mel frames to one latent vector."""

import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from audiosep_jax.encoders.bert import ACTIVATIONS
from audiosep_jax.encoders.clap.config import HtsatConfig
from audiosep_jax.errors import EncoderError

# The reference's number, added to the score of two positions that only the cyclic shift made neighbours.
_APART = -100.0
# Norms outside the blocks have PyTorch's default, not `layer_norm_eps`.
_DEFAULT_EPS = 1e-5


def effective_window(resolution: tuple[int, int], window: int) -> int:
    """Returns the window of a stage, at most as large as the image."""
    return min(*resolution, window)


def shift_of_block(block: int, resolution: tuple[int, int], window: int) -> int:
    """Returns the shift of a block's windows: every second block's, unless one window covers the image."""
    return window // 2 if block % 2 and min(resolution) > window else 0


def relative_position_index(window: int) -> Int[np.ndarray, "area area"]:
    """Returns the row of the bias table for each pair of positions (query, key) in a window."""
    rows, columns = np.divmod(np.arange(window * window), window)
    down = rows[:, None] - rows[None] + window - 1
    right = columns[:, None] - columns[None] + window - 1
    return down * (2 * window - 1) + right


def shift_mask(
    resolution: tuple[int, int], *, window: int, shift: int
) -> Float[np.ndarray, "windows area area"]:
    """Returns the mask to add to the scores in each window of a shifted image: 0 or -100.

    A shifted image wraps around, so a window at its far border holds up to four regions of the original
    image. Positions attend only to their own region. Height and width are multiples of the window; the shift,
    up and left, is less than it.
    """
    down, right = (
        (np.arange(size) >= size - window).astype(np.int32) + (np.arange(size) >= size - shift)
        for size in resolution
    )
    regions = _windows((down[:, None] * 3 + right[None])[None, :, :, None], window)[0, :, :, 0]
    return np.where(regions[:, :, None] == regions[:, None], 0.0, _APART).astype(np.float32)


def _windows(image, window: int):
    """`[batch, height, width, size]` -> `[batch, windows, window², size]`."""
    batch, height, width, size = image.shape
    image = image.reshape(batch, height // window, window, width // window, window, size)
    return image.transpose(0, 1, 3, 2, 4, 5).reshape(batch, -1, window * window, size)


def _image(windows: Array, window: int, resolution: tuple[int, int]) -> Array:
    """The inverse of `_windows`."""
    batch, _, _, size = windows.shape
    height, width = resolution
    windows = windows.reshape(batch, height // window, width // window, window, window, size)
    return windows.transpose(0, 1, 3, 2, 4, 5).reshape(batch, height, width, size)


class SwinBlock(nn.Module):
    """A block of "Swin Transformer" (arXiv 2103.14030), normalized before attention and before the MLP."""

    heads: int
    window: int
    mlp_size: int
    activation: str
    layer_norm_eps: float
    qkv_bias: bool
    shift: int  # of the blocks that shift; 0 if none of the stage does

    @nn.compact
    def __call__(
        self, image: Float[Array, "batch height width size"], shifts: Int[Array, ""]
    ) -> tuple[Float[Array, "batch height width size"], None]:
        """Returns the next image, in the (carry, output) form of `nn.scan`.

        `shifts` is 1 if this block shifts its windows, else 0.
        """
        norm = functools.partial(nn.LayerNorm, epsilon=self.layer_norm_eps, use_fast_variance=False)
        size = image.shape[-1]
        image = image + self._attend(norm(name="attention_norm")(image), shifts)
        inner = nn.Dense(self.mlp_size, name="mlp_in")(norm(name="mlp_norm")(image))
        return image + nn.Dense(size, name="mlp_out")(ACTIVATIONS[self.activation](inner)), None

    def _attend(self, image: Array, shifts: Array) -> Array:
        batch, height, width, size = image.shape
        window, area = self.window, self.window**2
        # Padded after the norm, and attended to, as in the reference.
        padding = [(0, 0), (0, -height % window), (0, -width % window), (0, 0)]
        padded = jnp.pad(image, padding)
        resolution = padded.shape[1], padded.shape[2]
        shift = jnp.full(2, self.shift * shifts)
        if self.shift:
            padded = jnp.roll(padded, -shift, axis=(1, 2))

        windows = _windows(padded, window)
        dense = nn.Dense(3 * size, use_bias=self.qkv_bias, name="qkv")
        qkv = dense(windows).reshape(batch, -1, area, 3, self.heads, size // self.heads)
        query, key, value = (qkv[:, :, :, part] for part in range(3))
        scores = jnp.einsum("bwqhd,bwkhd->bwhqk", query, key) / np.float32(np.sqrt(size // self.heads))
        table = self.param("bias_table", nn.initializers.zeros, ((2 * window - 1) ** 2, self.heads))
        scores += jnp.moveaxis(table[relative_position_index(window)], -1, 0)[None, None]
        if self.shift:
            mask = shift_mask(resolution, window=window, shift=self.shift)[None, :, None]
            scores += mask * shifts.astype(jnp.float32)
        attended = jnp.einsum("bwhqk,bwkhd->bwqhd", jax.nn.softmax(scores, axis=-1), value)
        attended = nn.Dense(size, name="projection")(attended.reshape(windows.shape))

        attended = _image(attended, window, resolution)
        if self.shift:
            attended = jnp.roll(attended, shift, axis=(1, 2))
        return attended[:, :height, :width]


class SwinStage(nn.Module):
    """Blocks of one resolution."""

    depth: int
    heads: int
    window: int
    mlp_size: int
    activation: str
    layer_norm_eps: float
    qkv_bias: bool

    @nn.compact
    def __call__(
        self, image: Float[Array, "batch height width size"]
    ) -> Float[Array, "batch height width size"]:
        """Returns an image of the same shape; the blocks' parameters are stacked on a leading axis."""
        resolution = image.shape[1], image.shape[2]
        shifts = [shift_of_block(block, resolution, self.window) for block in range(self.depth)]
        # All blocks of a stage share one compiled block, whether they shift or not.
        blocks = nn.scan(
            SwinBlock,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=0,
            length=self.depth,
        )
        image, _ = blocks(
            self.heads,
            effective_window(resolution, self.window),
            self.mlp_size,
            self.activation,
            self.layer_norm_eps,
            self.qkv_bias,
            max(shifts),
            name="blocks",
        )(image, jnp.array([shift > 0 for shift in shifts], jnp.int32))
        return image


class PatchMerging(nn.Module):
    """Merges four neighbours into one position of twice the size."""

    @nn.compact
    def __call__(
        self, image: Float[Array, "batch height width size"]
    ) -> Float[Array, "batch height//2 width//2 2*size"]:
        """Returns an image of half the height and width, which must be even."""
        # Rows first, as in the reference: the weights expect that order.
        corners = [image[:, row::2, column::2] for column in range(2) for row in range(2)]
        norm = nn.LayerNorm(epsilon=_DEFAULT_EPS, use_fast_variance=False, name="norm")
        merged = norm(jnp.concatenate(corners, axis=-1))
        return nn.Dense(2 * image.shape[-1], use_bias=False, name="reduction")(merged)


def interpolation_matrix(size: int, *, to: int) -> Float[np.ndarray, "to size"]:
    """Returns the matrix of PyTorch's bicubic interpolation along one axis, from `size` to `to` points.

    The corners are aligned: the first and the last point are those of the signal. The kernel is Keys' (1981)
    with a = -0.75; the border is repeated beyond the ends. Positions are float32 as in PyTorch, because their
    rounding is visible in steep spectrograms in dB.
    """
    a = -0.75
    scale = np.float32(size - 1) / np.float32(to - 1) if to > 1 else np.float32(0)
    position = scale * np.arange(to, dtype=np.float32)
    left = np.minimum(np.floor(position).astype(np.int64), size - 1)
    offset = np.clip(position - left.astype(np.float32), 0, 1)
    far = np.abs(offset[:, None] - np.arange(-1.0, 3.0)[None])
    weights = np.where(
        far <= 1,
        ((a + 2) * far - (a + 3)) * far**2 + 1,
        ((a * far - 5 * a) * far + 8 * a) * far - 4 * a,
    )
    matrix = np.zeros((to, size), np.float64)
    for tap in range(4):
        points = np.clip(left + tap - 1, 0, size - 1)
        np.add.at(matrix, (np.arange(to), points), weights[:, tap])
    return matrix.astype(np.float32)


def fold(
    config: HtsatConfig, spectrogram: Float[Array, "batch frames mels"]
) -> Float[Array, "batch spec spec"]:
    """Stretches spectrograms to `config.most_frames` and stacks their pieces along the frequency axis.

    The images, `[batch, frequency, time]`, are `spec_size` high and wide.
    """
    batch, frames, mels = spectrogram.shape
    height = config.spec_size // config.freq_ratio
    if frames < config.most_frames:
        matrix = interpolation_matrix(frames, to=config.most_frames)
        spectrogram = jnp.einsum("tf,bfm->btm", matrix, spectrogram)
    if mels < height:
        matrix = interpolation_matrix(mels, to=height)
        spectrogram = jnp.einsum("hm,btm->bth", matrix, spectrogram)
    pieces = spectrogram.reshape(batch, config.freq_ratio, config.spec_size, height)
    return jnp.swapaxes(pieces, 2, 3).reshape(batch, config.spec_size, config.spec_size)


class FrozenBatchNorm(nn.Module):
    """Batch norm over the last axis, with running statistics as parameters."""

    @nn.compact
    def __call__(self, x: Float[Array, "batch frames size"]) -> Float[Array, "batch frames size"]:
        """Returns the normalized array."""
        shape = (1, 1, x.shape[-1])
        zeros, ones = nn.initializers.zeros, nn.initializers.ones
        names = {"mean": zeros, "var": ones, "scale": ones, "bias": zeros}
        mean, var, scale, bias = (self.param(*item, shape[-1:]).reshape(shape) for item in names.items())
        return (x - mean) * (scale / jnp.sqrt(var + _DEFAULT_EPS)) + bias


class Htsat(nn.Module):
    """The encoder of "HTS-AT: A Hierarchical Token-Semantic Audio Transformer" (arXiv 2202.00874).

    It is frozen, so there is no dropout and no stochastic depth.
    """

    config: HtsatConfig

    @nn.compact
    def __call__(self, log_mel: Float[Array, "batch frames mels"]) -> Float[Array, "batch size"]:
        """Returns the mean of the last stage's positions."""
        config = self.config
        image = fold(config, FrozenBatchNorm(name="batch_norm")(log_mel))[..., None]
        image = nn.Conv(
            config.embed_dim,
            (config.patch_size, config.patch_size),
            strides=config.patch_stride,
            padding=[(padding, padding) for padding in config.patch_padding],
            name="patches",
        )(image)
        if config.patch_norm:
            image = nn.LayerNorm(epsilon=_DEFAULT_EPS, use_fast_variance=False, name="patch_norm")(image)
        for stage, (depth, heads) in enumerate(zip(config.depths, config.heads, strict=True)):
            if stage:
                image = PatchMerging(name=f"merging_{stage - 1}")(image)
            image = SwinStage(
                depth=depth,
                heads=heads,
                window=config.window_size,
                mlp_size=config.mlp_size(stage),
                activation=config.hidden_act,
                layer_norm_eps=config.layer_norm_eps,
                qkv_bias=config.qkv_bias,
                name=f"stage_{stage}",
            )(image)
        image = nn.LayerNorm(epsilon=_DEFAULT_EPS, use_fast_variance=False, name="norm")(image)
        # The reference groups the positions by frequency for its classifier; the mean is the same.
        return jnp.mean(image, axis=(1, 2))


def apply(
    config: HtsatConfig, params: Mapping[str, Any], log_mel: Float[Array, "batch frames mels"]
) -> Float[Array, "batch size"]:
    """Returns the latents of spectrograms. Pure and jit-able; float32 products on every platform.

    `log_mel`, in dB, has at most `config.most_frames` frames. The latents, `[batch, config.latent_size]`, are
    those before CLAP's projection: LAION's `embedding`, transformers' `pooler_output`.

    Raises:
      EncoderError: the spectrograms have no frames, too many, or another number of mel bins.
    """
    _, frames, mels = log_mel.shape
    if frames > config.most_frames or not frames or mels != config.mel_bins:
        raise EncoderError(
            f"The spectrograms have {frames} frames of {mels} mel bins: this audio tower takes 1 to "
            f"{config.most_frames} frames of {config.mel_bins}."
        )
    # Accelerators multiply in bfloat16 or TF32 by default; conditions must be the same everywhere.
    with jax.default_matmul_precision("highest"):
        return Htsat(config).apply({"params": params}, log_mel)  # pyright: ignore[reportReturnType]
