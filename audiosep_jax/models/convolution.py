"""The separator's convolutions, transposed convolutions and pooling."""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")

# From so many channels on, matrix products are faster than XLA:CPU's weight gradient (2 cores, jax 0.10).
_WIDE = 16


@jax.custom_vjp
def convolve(
    inputs: Float[Array, "batch time freq in"], kernel: Float[Array, "height width in out"]
) -> Float[Array, "batch time freq out"]:
    """Convolves with stride 1 and zero padding to the same size; no bias."""
    if kernel.shape[:2] == (1, 1):
        return inputs @ kernel[0, 0]
    return jax.lax.conv_general_dilated(inputs, kernel, (1, 1), "SAME", dimension_numbers=_DIMENSIONS)


def _convolve_forward(inputs: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return convolve(inputs, kernel), (inputs, kernel)


def _convolve_backward(residuals: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
    inputs, kernel = residuals
    input_gradient = convolve(cotangent, jnp.flip(kernel, (0, 1)).swapaxes(2, 3))
    height, width = kernel.shape[:2]
    native = functools.partial(_kernel_gradient_native, height=height, width=width)
    # XLA's CPU backend computes the weight gradient several times slower than matrix products do, except for
    # few channels. Accelerators have a native kernel for it.
    wide = min(inputs.shape[-1], cotangent.shape[-1]) >= _WIDE
    products = functools.partial(_kernel_gradient_as_products, height=height, width=width)
    kernel_gradient = jax.lax.platform_dependent(
        inputs, cotangent, cpu=products if wide else native, default=native
    )
    return input_gradient, kernel_gradient


convolve.defvjp(_convolve_forward, _convolve_backward)


def _kernel_gradient_native(inputs: Array, cotangent: Array, height: int, width: int) -> Array:
    if (height, width) == (1, 1):
        return jnp.einsum("btfi,btfo->io", inputs, cotangent)[None, None]
    kernel = jnp.zeros((height, width, inputs.shape[-1], cotangent.shape[-1]), inputs.dtype)
    _, pullback = jax.vjp(
        lambda k: jax.lax.conv_general_dilated(inputs, k, (1, 1), "SAME", dimension_numbers=_DIMENSIONS),
        kernel,
    )
    return pullback(cotangent)[0]


def _kernel_gradient_as_products(inputs: Array, cotangent: Array, height: int, width: int) -> Array:
    """One matrix product per column of the kernel, over all positions of the batch.

    The narrower operand is transposed once, so that its positions are contiguous, and stacked once per row of
    the kernel, shifted in time: a matrix tall enough for the caches, in the layout that the product takes.
    The other operand is shifted in frequency for each column.
    """
    channels, features = inputs.shape[-1], cotangent.shape[-1]
    if channels < features:
        wide, narrow = cotangent, inputs
        rows, columns = range(height), reversed(range(width))
    else:
        wide, narrow = inputs, cotangent
        rows, columns = reversed(range(height)), range(width)
    batch, time, freq, _ = inputs.shape
    narrow = jnp.pad(narrow.transpose(3, 0, 1, 2), ((0, 0), (0, 0), (height // 2,) * 2, (0, 0)))
    # Without the barrier XLA transposes it again for each copy, in an order that is slow in memory.
    narrow = jax.lax.optimization_barrier(narrow)
    narrow = jnp.concatenate([narrow[:, :, i : i + time] for i in rows]).reshape(-1, batch * time * freq)
    wide = jnp.pad(wide, ((0, 0), (0, 0), (width // 2,) * 2, (0, 0)))
    # As matrices, because for an einsum over three axes XLA first reorders the axes of both operands.
    products = [narrow @ wide[:, :, j : j + freq].reshape(batch * time * freq, -1) for j in columns]
    taps = jnp.stack(products, axis=1).reshape(height, -1, width, wide.shape[-1])
    return taps.transpose((0, 2, 1, 3) if channels < features else (0, 2, 3, 1))


def upsample(
    inputs: Float[Array, "batch time freq in"], kernel: Float[Array, "height width in out"]
) -> Float[Array, "batch time2 freq2 out"]:
    """Transposed convolution with a stride of the kernel's size: each output depends on one input."""
    batch, time, freq, channels = inputs.shape
    height, width, _, features = kernel.shape
    outputs = inputs @ kernel.transpose(2, 0, 1, 3).reshape(channels, -1)
    outputs = outputs.reshape(batch, time, freq, height, width, features)
    return outputs.transpose(0, 1, 3, 2, 4, 5).reshape(batch, time * height, freq * width, features)


def average_pool(
    inputs: Float[Array, "batch time freq channels"], stride: tuple[int, int]
) -> Float[Array, "batch time2 freq2 channels"]:
    """Averages blocks of `stride` positions; drops incomplete blocks at the end."""
    # Not nn.avg_pool: it divides by a NumPy integer, an error under strict dtype promotion.
    return nn.pool(inputs, 0.0, jax.lax.add, stride, stride, "VALID") / math.prod(stride)
