"""Swin transformer blocks in Flax Linen: attention in windows of an image, shifted every second block."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from audiosep_jax.encoders.bert import ACTIVATIONS

# Added to the score of two positions that only the cyclic shift made neighbours; the reference's number.
_APART = -100.0
# The norms outside of the blocks have PyTorch's default, whatever `layer_norm_eps` says.
DEFAULT_EPS = 1e-5


def effective_window(resolution: tuple[int, int], window: int) -> int:
    """Returns the window of a stage: an image that is no larger than the window has a smaller one."""
    return min(*resolution, window)


def shift_of_block(block: int, resolution: tuple[int, int], window: int) -> int:
    """Returns by how many positions a block shifts its windows; one window as large as the image never is."""
    return window // 2 if block % 2 and min(resolution) > window else 0


def relative_position_index(window: int) -> Int[np.ndarray, "area area"]:
    """Returns the row of the bias table for each pair of positions (query, key) in a window, row by row."""
    rows, columns = np.divmod(np.arange(window * window), window)
    down = rows[:, None] - rows[None] + window - 1
    right = columns[:, None] - columns[None] + window - 1
    return down * (2 * window - 1) + right


def shift_mask(
    resolution: tuple[int, int], *, window: int, shift: int
) -> Float[np.ndarray, "windows area area"]:
    """Returns what is added to the scores inside each window of a shifted image: 0, or -100.

    A shifted image wraps around, so that a window at its far border holds up to four regions of the
    unshifted image; positions attend to their own region only.

    Args:
      resolution: height and width, multiples of the window.
      window: side of a window.
      shift: by how much the image was shifted up and left, less than the window.
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
    """One block of "Swin Transformer" (arXiv 2103.14030), normalised before attention and before the MLP."""

    heads: int
    window: int
    mlp_size: int
    activation: str
    layer_norm_eps: float
    qkv_bias: bool
    shift: int  # of the blocks that shift; 0 in a stage where none does

    @nn.compact
    def __call__(
        self, image: Float[Array, "batch height width size"], shifts: Int[Array, ""]
    ) -> tuple[Float[Array, "batch height width size"], None]:
        """Returns the next image, in the (carry, output) form of `nn.scan`.

        Args:
          image: activations.
          shifts: 1 if this block shifts its windows, 0 if it does not.
        """
        norm = functools.partial(nn.LayerNorm, epsilon=self.layer_norm_eps, use_fast_variance=False)
        size = image.shape[-1]
        image = image + self._attend(norm(name="attention_norm")(image), shifts)
        inner = nn.Dense(self.mlp_size, name="mlp_in")(norm(name="mlp_norm")(image))
        return image + nn.Dense(size, name="mlp_out")(ACTIVATIONS[self.activation](inner)), None

    def _attend(self, image: Array, shifts: Array) -> Array:
        batch, height, width, size = image.shape
        window, area = self.window, self.window**2
        # Padding is attended to, as in the reference: it stands behind the norm.
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
        """Returns an image of the same shape. The parameters of the blocks are stacked on a leading axis."""
        resolution = image.shape[1], image.shape[2]
        shifts = [shift_of_block(block, resolution, self.window) for block in range(self.depth)]
        # One block is compiled for all of a stage, those that shift and those that do not.
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
    """Four neighbours become one position of twice the size."""

    @nn.compact
    def __call__(
        self, image: Float[Array, "batch height width size"]
    ) -> Float[Array, "batch height//2 width//2 2*size"]:
        """Returns an image of half the height and width, which must be even."""
        # The reference goes down the rows first: the weights expect that order.
        corners = [image[:, row::2, column::2] for column in range(2) for row in range(2)]
        norm = nn.LayerNorm(epsilon=DEFAULT_EPS, use_fast_variance=False, name="norm")
        merged = norm(jnp.concatenate(corners, axis=-1))
        return nn.Dense(2 * image.shape[-1], use_bias=False, name="reduction")(merged)
