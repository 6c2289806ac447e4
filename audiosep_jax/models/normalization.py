"""BatchNorm, FiLM, leaky ReLU and the next linear layer as one operation that needs little memory.

Automatic differentiation would keep a copy of the largest arrays of a train step for each of the four. This
operation keeps only its input (or its input and the activation). Its backward pass is written by hand and
reads each array twice: once to sum, once to compute the gradient.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

NEGATIVE_SLOPE = 0.01

Linear = Callable[[Array, Array], Array]
"""A layer that is linear in its inputs and in its kernel: inputs, kernel -> outputs."""


@dataclasses.dataclass(frozen=True)
class Normalized:
    """A normalization that the next layer computes; BatchNorm's and FiLM's numbers are combined."""

    # Each `[batch, time, freq, bins · width]`; their widths sum up to the channels of the float32 vectors.
    parts: tuple[Float[Array, "batch time freq _"], ...]
    mean: Float[Array, " channels"]
    rstd: Float[Array, " channels"]  # reciprocal standard deviation
    gain: Float[Array, "gains channels"]  # `[batch or 1, channels]`
    shift: Float[Array, "batch channels"]
    bins: int  # packed into the channels of each part (`audiosep_jax.models.packing`)
    of_batch: bool  # whether mean and deviation are those of the parts, not running ones


def moments(
    inputs: Float[Array, "*batch packed"], *, bins: int, near: Float[Array, " channels"]
) -> tuple[Float[Array, " channels"], Float[Array, " channels"]]:
    """Returns mean and biased variance per channel, in float32, of inputs `[…, bins · channels]`.

    Float32 is read twice, because the one-pass formula loses digits that the golden records show. A narrower
    type is read once: its own rounding is larger than that loss. `near` is a value near the mean, against
    cancellation in the one-pass formula.
    """
    axes = tuple(range(inputs.ndim - 1))
    if inputs.dtype == jnp.float32:
        mean = _over_bins(jnp.mean(inputs, axes), bins) / bins
        deviation = inputs - jnp.expand_dims(jnp.tile(mean, bins), axes)
        return mean, _over_bins(jnp.mean(jnp.square(deviation), axes), bins) / bins
    deviation = inputs.astype(jnp.float32) - jnp.expand_dims(jnp.tile(near, bins), axes)
    offset = _over_bins(jnp.mean(deviation, axes), bins) / bins
    square = _over_bins(jnp.mean(jnp.square(deviation), axes), bins) / bins
    return near + offset, jnp.maximum(square - jnp.square(offset), 0)


def activate_through(
    linear: Linear, normalized: Normalized, kernel: Array, *, keep_activation: bool
) -> Float[Array, "batch time2 freq2 out"]:
    """Returns `linear(leaky_relu((parts - mean) · rstd · gain + shift), kernel)`, for a float32 kernel.

    `linear` is hashable, takes the concatenated channels of the parts, and computes in their type. The
    gradient includes the statistics if they are those of the batch. `keep_activation` keeps the activation
    for the backward pass instead of computing it again.
    """
    vectors = (normalized.mean, normalized.rstd, normalized.gain, normalized.shift)
    if normalized.of_batch:
        return _through(linear, normalized.bins, keep_activation, normalized.parts, *vectors, kernel)
    return linear(_activation(normalized.bins, normalized.parts, *vectors), kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _through(linear, bins, keep_activation, parts, mean, rstd, gain, shift, kernel):
    return linear(_activation(bins, parts, mean, rstd, gain, shift), kernel)


def _through_forward(linear, bins, keep_activation, parts, mean, rstd, gain, shift, kernel):
    activation = _activation(bins, parts, mean, rstd, gain, shift)
    kept = activation if keep_activation else None
    return linear(activation, kernel), (parts, mean, rstd, gain, shift, kernel, kept)


def _through_backward(linear, bins, keep_activation, residuals, cotangent):
    parts, mean, rstd, gain, shift, kernel, activation = residuals
    if activation is None:
        # Without the barrier, the compiler keeps the forward pass's equal value.
        parts, cotangent = jax.lax.optimization_barrier((parts, cotangent))
        activation = _activation(bins, parts, mean, rstd, gain, shift)
    _, pullback = jax.vjp(linear, activation, kernel)
    gradient, kernel_gradient = pullback(cotangent)
    # Stored in the type of the activations; fused with the conversion below, it would be stored as float32.
    gradient = jax.lax.optimization_barrier(gradient)
    gradients, start = [], 0
    for part, *vectors in _by_part(bins, parts, mean, rstd, gain, shift):
        own = jax.lax.slice_in_dim(gradient, start, start + part.shape[-1], axis=3)
        start += part.shape[-1]
        gradients.append(_part_gradients(bins, own, part, *vectors))
    part_gradients, gain_gradients, shift_gradients = zip(*gradients, strict=True)
    gain_gradient = jnp.concatenate(gain_gradients, -1)
    if gain.shape[0] == 1:
        gain_gradient = jnp.sum(gain_gradient, 0, keepdims=True)
    shift_gradient = jnp.concatenate(shift_gradients, -1)
    nothing = jnp.zeros_like(mean)
    return part_gradients, nothing, nothing, gain_gradient, shift_gradient, kernel_gradient


_through.defvjp(_through_forward, _through_backward)


def _part_gradients(bins, gradient, part, mean, rstd, gain, shift):
    """Returns the gradients of a part, and those of gain and shift per example, from the activation's."""
    count = part.size // mean.shape[-1]
    deviation, normal = _normal(bins, part, mean, rstd, gain, shift)
    gradient = gradient.astype(jnp.float32) * jnp.where(normal >= 0, 1.0, NEGATIVE_SLOPE)
    shift_gradient = _over_bins(jnp.sum(gradient, (1, 2)), bins)
    gain_gradient = _over_bins(jnp.sum(gradient * deviation, (1, 2)), bins) * rstd[None]
    # Mean and deviation depend on the inputs, too (Ioffe & Szegedy 2015).
    level = jnp.sum(gain * shift_gradient, 0) * rstd / count
    slope = jnp.sum(gain * gain_gradient, 0) * jnp.square(rstd) / count
    part_gradient = gradient * _wide(gain * rstd[None], bins)
    part_gradient = part_gradient - deviation * _wide(slope[None], bins) - _wide(level[None], bins)
    return part_gradient.astype(part.dtype), gain_gradient, shift_gradient


def _activation(bins, parts, mean, rstd, gain, shift):
    """Returns the concatenated activations of all parts."""
    activations = [
        jax.nn.leaky_relu(_normal(bins, part, *vectors)[1], NEGATIVE_SLOPE).astype(part.dtype)
        for part, *vectors in _by_part(bins, parts, mean, rstd, gain, shift)
    ]
    return jnp.concatenate(activations, axis=-1)


def _by_part(bins, parts, *vectors):
    """Yields each part with its slice of the vectors."""
    start = 0
    for part in parts:
        stop = start + part.shape[-1] // bins
        yield part, *(vector[..., start:stop] for vector in vectors)
        start = stop


def _normal(bins, part, mean, rstd, gain, shift):
    """Returns the deviation from the mean, and the normalized and modulated part, in float32."""
    deviation = part.astype(jnp.float32) - _wide(mean[None], bins)
    return deviation, deviation * _wide(gain * rstd[None], bins) + _wide(shift, bins)


def _wide(vectors: Float[Array, "batch channels"], bins: int) -> Float[Array, "batch 1 1 packed"]:
    """Repeats channels for every packed bin."""
    return jnp.tile(vectors, (1, bins))[:, None, None]


def _over_bins(vectors: Float[Array, "*batch packed"], bins: int) -> Float[Array, "*batch channels"]:
    """Sums over the packed bins of each channel."""
    return jnp.sum(vectors.reshape(*vectors.shape[:-1], bins, -1), axis=-2)
