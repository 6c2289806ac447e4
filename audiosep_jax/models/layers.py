"""The layers whose details decide parity with PyTorch: convolution, BatchNorm, FiLM."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from audiosep_jax.config import FilmKind
from audiosep_jax.models.convolution import convolve, upsample


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
