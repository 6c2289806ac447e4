"""Convolution and BatchNorm, with the details of PyTorch.

An input may be several arrays whose channels follow each other, as after a skip connection, and neighbouring
frequency bins may be packed into channels (`audiosep_jax.models.packing`). Parameters have the shapes of the
plain layers.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from audiosep_jax.models.normalization import Normalized, activate_through, moments
from audiosep_jax.models.packing import PLAIN, bins_of, packed_convolve, packed_upsample

Parts = tuple[Float[Array, "batch time freq _"], ...]
_Vector = Float[Array, " channels"]


class Convolution(nn.Module):
    """A convolution with stride 1 and "same" padding; Xavier uniform kernel, zero bias."""

    features: int
    size: int
    use_bias: bool
    pack: int = PLAIN
    keep_activation: bool = True

    @nn.compact
    def __call__(self, inputs: Parts | Normalized) -> Float[Array, "batch time freq out"]:
        """Convolves arrays, or normalizes, activates and convolves a `Normalized`."""
        parts = inputs.parts if isinstance(inputs, Normalized) else inputs
        widths = tuple(part.shape[-1] // bins_of(self.pack) for part in parts)
        shape = (self.size, self.size, sum(widths), self.features)
        kernel = self.param("kernel", nn.initializers.xavier_uniform(), shape)
        if isinstance(inputs, Normalized):
            linear = functools.partial(packed_convolve, pack=self.pack, widths=widths)
            outputs = activate_through(linear, inputs, kernel, keep_activation=self.keep_activation)
        else:
            kernels = jnp.split(kernel, np.cumsum(widths)[:-1], axis=2)
            outputs = functools.reduce(
                jnp.add,
                (
                    packed_convolve(part, own, pack=self.pack, widths=(width,))
                    for part, own, width in zip(parts, kernels, widths, strict=True)
                ),
            )
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,))
            bias = jnp.tile(bias, bins_of(self.pack)).astype(outputs.dtype)
            outputs = outputs + bias[None, None, None]
        return outputs


class UpConvolution(nn.Module):
    """An activation, and a transposed convolution whose kernel size equals its stride."""

    features: int
    stride: tuple[int, int]
    pack: int = PLAIN
    keep_activation: bool = True

    @nn.compact
    def __call__(self, inputs: Normalized) -> Float[Array, "batch time2 freq2 out"]:
        shape = (*self.stride, inputs.mean.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.xavier_uniform(), shape)
        linear = functools.partial(packed_upsample, pack=self.pack)
        return activate_through(linear, inputs, kernel, keep_activation=self.keep_activation)


class BatchNorm(nn.Module):
    """The statistics and affine parameters of a BatchNorm, updated as in PyTorch.

    Returns mean, reciprocal standard deviation, scale and bias, each float32 `[channels]`; the caller
    normalizes. Unlike in `flax.linen.BatchNorm`, the running variance averages the unbiased batch variance.
    `momentum` is the weight of the old value: PyTorch's `momentum=0.01` is 0.99 here.
    """

    momentum: float = 0.99
    epsilon: float = 1e-5

    @nn.compact
    def __call__(
        self, parts: tuple[Float[Array, "*batch packed"], ...], train: bool, bins: int = 1
    ) -> tuple[_Vector, _Vector, _Vector, _Vector]:
        widths = [part.shape[-1] // bins for part in parts]
        channels = (sum(widths),)
        scale = self.param("scale", nn.initializers.ones, channels)
        bias = self.param("bias", nn.initializers.zeros, channels)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, channels)
        running_var = self.variable("batch_stats", "var", jnp.ones, channels)
        if not train:
            return running_mean.value, jax.lax.rsqrt(running_var.value + self.epsilon), scale, bias
        near = jnp.split(running_mean.value, np.cumsum(widths)[:-1])
        pairs = [moments(part, bins=bins, near=mean) for part, mean in zip(parts, near, strict=True)]
        mean, var = (jnp.concatenate(values) for values in zip(*pairs, strict=True))
        if not self.is_initializing():
            count = parts[0].size // widths[0]
            unbiased = var * (count / max(count - 1, 1))
            running_mean.value = self.momentum * running_mean.value + (1 - self.momentum) * mean
            running_var.value = self.momentum * running_var.value + (1 - self.momentum) * unbiased
        return mean, jax.lax.rsqrt(var + self.epsilon), scale, bias
