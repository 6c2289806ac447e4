"""The convolutions of the separator: size kept, transposed by the kernel's own size, and pooling."""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")

# Channels from which matrix products beat XLA:CPU's own weight gradient (measured, 2 cores, jax 0.10).
_WIDE = 32


def convolve(
    inputs: Float[Array, "batch time freq in"], kernel: Float[Array, "height width in out"]
) -> Float[Array, "batch time freq out"]:
    """Convolves with stride 1 and zero padding that keeps the size; no bias."""
    if kernel.shape[:2] == (1, 1):
        return inputs @ kernel[0, 0]
    return _convolve(inputs, kernel)


@jax.custom_vjp
def _convolve(inputs: Array, kernel: Array) -> Array:
    return jax.lax.conv_general_dilated(inputs, kernel, (1, 1), "SAME", dimension_numbers=_DIMENSIONS)


def _convolve_forward(inputs: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _convolve(inputs, kernel), (inputs, kernel)


def _convolve_backward(residuals: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
    inputs, kernel = residuals
    flipped = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
    input_gradient = jax.lax.conv_general_dilated(
        cotangent, flipped, (1, 1), "SAME", dimension_numbers=_DIMENSIONS
    )
    height, width = kernel.shape[:2]
    native = functools.partial(_kernel_gradient_native, height=height, width=width)
    # XLA's CPU backend runs the weight gradient of wide layers several times slower than the same
    # arithmetic as matrix products; for narrow ones the products are too thin. Accelerators have a
    # native kernel for it.
    wide = min(inputs.shape[-1], cotangent.shape[-1]) >= _WIDE
    products = functools.partial(_kernel_gradient_as_products, height=height, width=width)
    kernel_gradient = jax.lax.platform_dependent(
        inputs, cotangent, cpu=products if wide else native, default=native
    )
    return input_gradient, kernel_gradient


_convolve.defvjp(_convolve_forward, _convolve_backward)


def _kernel_gradient_native(inputs: Array, cotangent: Array, height: int, width: int) -> Array:
    kernel = jnp.zeros((height, width, inputs.shape[-1], cotangent.shape[-1]), inputs.dtype)
    _, pullback = jax.vjp(
        lambda k: jax.lax.conv_general_dilated(inputs, k, (1, 1), "SAME", dimension_numbers=_DIMENSIONS),
        kernel,
    )
    return pullback(cotangent)[0]


def _kernel_gradient_as_products(inputs: Array, cotangent: Array, height: int, width: int) -> Array:
    """One matrix product per column of the kernel, over all positions of the batch.

    The narrower of the two operands is laid beside itself once per row of the kernel, shifted in time, which
    makes its matrix wide enough for the caches; the other one is shifted in frequency for each column.
    """
    channels, features = inputs.shape[-1], cotangent.shape[-1]
    if channels < features:
        wide, narrow = cotangent, inputs
        rows, columns = range(height), reversed(range(width))
    else:
        wide, narrow = inputs, cotangent
        rows, columns = reversed(range(height)), range(width)
    _, time, freq, _ = inputs.shape
    narrow = jnp.pad(narrow, ((0, 0), (height // 2,) * 2, (0, 0), (0, 0)))
    narrow = jnp.concatenate([narrow[:, i : i + time] for i in rows], axis=-1)
    wide = jnp.pad(wide, ((0, 0), (0, 0), (width // 2,) * 2, (0, 0)))
    products = [jnp.einsum("btfw,btfn->wn", wide[:, :, j : j + freq], narrow) for j in columns]
    taps = jnp.stack(products).reshape(width, wide.shape[-1], height, -1)
    return taps.transpose((2, 0, 3, 1) if channels < features else (2, 0, 1, 3))


def upsample(
    inputs: Float[Array, "batch time freq in"], kernel: Float[Array, "height width in out"]
) -> Float[Array, "batch time2 freq2 out"]:
    """Convolves transposed with a stride of the kernel's size: each output sees one input."""
    batch, time, freq, channels = inputs.shape
    height, width, _, features = kernel.shape
    outputs = inputs @ kernel.transpose(2, 0, 1, 3).reshape(channels, -1)
    outputs = outputs.reshape(batch, time, freq, height, width, features)
    return outputs.transpose(0, 1, 3, 2, 4, 5).reshape(batch, time * height, freq * width, features)


def average_pool(
    inputs: Float[Array, "batch time freq channels"], stride: tuple[int, int]
) -> Float[Array, "batch time2 freq2 channels"]:
    """Averages blocks of `stride` positions; what does not fill a block is dropped."""
    # Not nn.avg_pool: it divides by a NumPy integer, which strict dtype promotion refuses.
    return nn.pool(inputs, 0.0, jax.lax.add, stride, stride, "VALID") / math.prod(stride)
