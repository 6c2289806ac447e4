"""3×3 convolutions with a quarter of the multiplications: Winograd's F(4×4, 3×3), a strip of rows at a time.

Lavin & Gray 2016, "Fast Algorithms for Convolutional Neural Networks". Tiles of 6×6 inputs that overlap by 2
become 36 coefficients; each coefficient needs one matrix product over the channels; 36 coefficients become
tiles of 4×4 outputs. It is for processors, whose own convolution is about as fast as their products. A strip
fits the processor's caches, so only inputs and outputs are in memory.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

TILE = 4

# Rows: results. Columns: elements of a tile of inputs, of a kernel, and of a tile of coefficients.
_INPUTS = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
_KERNEL = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24
_OUTPUTS = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])


def coefficients(
    kernel: Float[Array, "3 3 channels features"],
) -> Float[Array, "36 channels features"]:
    """Returns the coefficients of a kernel: frequency first, then time."""
    hidden = _combined(_KERNEL, [kernel[:, i] for i in range(3)])  # [6, time, channels, features]
    both = _combined(_KERNEL, [hidden[:, i] for i in range(3)], axis=1)
    return both.reshape(36, *kernel.shape[2:])


def convolve(
    inputs: Float[Array, "rows4 freq4 channels"], kernel: Float[Array, "36 channels features"]
) -> Float[Array, "rows freq features"]:
    """Convolves a strip with a kernel from `coefficients`.

    The strip has one row and one bin before it and three after it, of which the last two are ignored; rows
    and freq are multiples of 4.
    """
    rows, freq, channels = inputs.shape[0] - TILE, inputs.shape[1] - TILE, inputs.shape[2]
    down, across = rows // TILE, freq // TILE
    tiles = inputs.reshape(down + 1, TILE, freq + TILE, channels)
    # Without the barriers XLA computes an intermediate again for each of its six uses.
    hidden = _stored(_combined(_INPUTS, [tiles[i // TILE : down + i // TILE, i % TILE] for i in range(6)]))
    tiles = hidden.reshape(6, down, across + 1, TILE, channels)
    hidden = _combined(_INPUTS, [tiles[:, :, i // TILE : across + i // TILE, i % TILE] for i in range(6)])
    products = multiply(_stored(hidden.reshape(36, down * across, channels)), kernel)
    tiles = products.reshape(6, 6, down, across, -1)
    hidden = _stored(_combined(_OUTPUTS, [tiles[i] for i in range(6)], axis=3))
    return _combined(_OUTPUTS, [hidden[i] for i in range(6)], axis=1).reshape(rows, freq, -1)


def multiply(
    inputs: Float[Array, "36 tiles channels"], kernel: Float[Array, "36 channels features"]
) -> Float[Array, "36 tiles features"]:
    """Returns the products of coefficients."""
    return inputs @ kernel


def _combined(matrix: np.ndarray, parts: Sequence[Array], axis: int = 0) -> Array:
    """Returns the stacked sums of parts, weighted by each row of a matrix."""
    return jnp.stack([_sum(row, parts) for row in matrix], axis=axis)


def _sum(factors: np.ndarray, parts: Sequence[Array]) -> Array:
    terms = [
        part if factor == 1 else np.float32(factor) * part
        for factor, part in zip(factors, parts, strict=True)
        if factor
    ]
    return sum(terms[1:], start=terms[0])


def _stored(array: Array) -> Array:
    return jax.lax.optimization_barrier(array)
