"""Convolutions for accelerators: native, with narrow inputs, float32 kernels and float32 kernel gradients.

1×1 and transposed convolutions are convolutions too, because a matrix product among convolutions makes the
compiler copy its operands into another layout. The kernel's gradient is a sum over all positions of a batch,
so it is float32 for every type of inputs.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")

# Batch and channels exchanged: sums over the batch, keeps the channels.
_SUMMED = ("CHWN", "IHWO", "HWNC")


def _padding(kernel: Array) -> tuple[tuple[int, int], tuple[int, int]]:
    height, width = kernel.shape[:2]
    return ((height - 1) // 2, height // 2), ((width - 1) // 2, width // 2)


def _native(inputs: Array, kernel: Array) -> Array:
    return jax.lax.conv_general_dilated(
        inputs, kernel.astype(inputs.dtype), (1, 1), _padding(kernel), dimension_numbers=_DIMENSIONS
    )


@jax.custom_vjp
def convolve(
    inputs: Float[Array, "batch time freq in"], kernel: Float[Array, "height width in out"]
) -> Float[Array, "batch time freq out"]:
    """Convolves with stride 1 and zero padding to the same size, in the type of the inputs."""
    return _native(inputs, kernel)


def _convolve_forward(inputs: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _native(inputs, kernel), (inputs, kernel)


def _convolve_backward(residuals: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
    inputs, kernel = residuals
    inputs_gradient = _native(cotangent, jnp.flip(kernel, (0, 1)).swapaxes(2, 3))
    kernel_gradient = jax.lax.conv_general_dilated(
        inputs,
        cotangent,
        (1, 1),
        _padding(kernel),
        dimension_numbers=_SUMMED,
        preferred_element_type=jnp.float32,
    )
    return inputs_gradient, kernel_gradient


convolve.defvjp(_convolve_forward, _convolve_backward)


def _transposed(inputs: Array, kernel: Array) -> Array:
    height, width = kernel.shape[:2]
    return jax.lax.conv_general_dilated(
        inputs,
        jnp.flip(kernel, (0, 1)).astype(inputs.dtype),
        (1, 1),
        ((height - 1, height - 1), (width - 1, width - 1)),
        lhs_dilation=(height, width),
        dimension_numbers=_DIMENSIONS,
    )


@jax.custom_vjp
def upsample(
    inputs: Float[Array, "batch time freq in"], kernel: Float[Array, "height width in out"]
) -> Float[Array, "batch time2 freq2 out"]:
    """Transposed convolution with a stride of the kernel's size: each output depends on one input."""
    return _transposed(inputs, kernel)


def _upsample_forward(inputs: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _transposed(inputs, kernel), (inputs, kernel)


def _upsample_backward(residuals: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
    inputs, kernel = residuals
    inputs_gradient = jax.lax.conv_general_dilated(
        cotangent,
        kernel.swapaxes(2, 3).astype(inputs.dtype),
        kernel.shape[:2],
        "VALID",
        dimension_numbers=_DIMENSIONS,
    )
    kernel_gradient = jax.lax.conv_general_dilated(
        cotangent,
        inputs,
        (1, 1),
        "VALID",
        rhs_dilation=kernel.shape[:2],
        dimension_numbers=_SUMMED,
        preferred_element_type=jnp.float32,
    )
    return inputs_gradient, kernel_gradient.swapaxes(2, 3)


upsample.defvjp(_upsample_forward, _upsample_backward)
