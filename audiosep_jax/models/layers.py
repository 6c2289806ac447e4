"""The layers whose details decide parity with PyTorch: convolution, BatchNorm, FiLM."""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from audiosep_jax.config import FilmKind

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")

# Channels from which matrix products beat XLA:CPU's own weight gradient (measured, 2 cores, jax 0.10).
_WIDE = 128


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
    """One matrix product per kernel tap, over all positions of the batch."""
    _, time, freq, _ = inputs.shape
    padded = jnp.pad(inputs, ((0, 0), (height // 2,) * 2, (width // 2,) * 2, (0, 0)))
    taps = [
        jnp.einsum("btfi,btfo->io", padded[:, i : i + time, j : j + freq], cotangent)
        for i in range(height)
        for j in range(width)
    ]
    return jnp.stack(taps).reshape(height, width, inputs.shape[-1], cotangent.shape[-1])


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


class Convolution(nn.Module):
    """A convolution with stride 1 and "same" padding; Xavier uniform kernel, zero bias."""

    features: int
    size: int
    use_bias: bool

    @nn.compact
    def __call__(self, inputs: Float[Array, "batch time freq in"]) -> Float[Array, "batch time freq out"]:
        shape = (self.size, self.size, inputs.shape[-1], self.features)
        outputs = convolve(inputs, self.param("kernel", nn.initializers.xavier_uniform(), shape))
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,))
            outputs = outputs + bias[None, None, None]
        return outputs


class UpConvolution(nn.Module):
    """A transposed convolution whose kernel size equals its stride, so that it is one matrix product."""

    features: int
    stride: tuple[int, int]

    @nn.compact
    def __call__(self, inputs: Float[Array, "batch time freq in"]) -> Float[Array, "batch time2 freq2 out"]:
        shape = (*self.stride, inputs.shape[-1], self.features)
        return upsample(inputs, self.param("kernel", nn.initializers.xavier_uniform(), shape))


class BatchNorm(nn.Module):
    """BatchNorm over all but the last axis, with PyTorch's bookkeeping.

    Unlike `flax.linen.BatchNorm` the running variance takes the unbiased batch variance. `momentum`
    is the share of the old value that stays: PyTorch's `momentum=0.01` is 0.99 here.
    """

    momentum: float = 0.99
    epsilon: float = 1e-5

    @nn.compact
    def __call__(
        self, inputs: Float[Array, "*batch channels"], train: bool
    ) -> Float[Array, "*batch channels"]:
        channels = (inputs.shape[-1],)
        scale = self.param("scale", nn.initializers.ones, channels)
        bias = self.param("bias", nn.initializers.zeros, channels)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, channels)
        running_var = self.variable("batch_stats", "var", jnp.ones, channels)
        axes = tuple(range(inputs.ndim - 1))
        if train:
            count = inputs.size // inputs.shape[-1]
            mean = jnp.mean(inputs, axes)
            # Two passes: the one-pass formula loses too many digits next to the golden records. The
            # deviations sum to zero, so the mean inside them has no gradient: leaving it out saves the
            # backward a pass.
            deviation = inputs - jax.lax.stop_gradient(jnp.expand_dims(mean, axes))
            var = jnp.mean(jnp.square(deviation), axes)
            if not self.is_initializing():
                unbiased = var * (count / max(count - 1, 1))
                running_mean.value = self.momentum * running_mean.value + (1 - self.momentum) * mean
                running_var.value = self.momentum * running_var.value + (1 - self.momentum) * unbiased
        else:
            mean, var = running_mean.value, running_var.value
        factor = scale * jax.lax.rsqrt(var + self.epsilon)
        return inputs * jnp.expand_dims(factor, axes) + jnp.expand_dims(bias - mean * factor, axes)


class FiLM(nn.Module):
    """Feature-wise linear modulation by the condition (Perez et al. 2018).

    `kind="shift"` is the released AudioSep: a projection of the condition is added. `"scale_shift"`
    also multiplies by one plus a second projection.
    """

    kind: FilmKind

    @nn.compact
    def __call__(
        self, inputs: Float[Array, "batch time freq channels"], condition: Float[Array, "batch size"]
    ) -> Float[Array, "batch time freq channels"]:
        def project(name: str) -> Array:
            dense = nn.Dense(inputs.shape[-1], kernel_init=nn.initializers.xavier_uniform(), name=name)
            return dense(condition)[:, None, None, :]

        if self.kind == "scale_shift":
            inputs = inputs * (1 + project("scale"))
        return inputs + project("shift")
