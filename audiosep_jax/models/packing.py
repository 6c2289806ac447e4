"""Neighbouring frequency bins packed into channels, so that layers fill an accelerator's lanes.

An accelerator computes and stores 128 channels at a time, and pads fewer channels to 128. A layer of 32
channels has `[batch, time, freq, 32]`; packed by 4, the same numbers in the same order in memory are
`[batch, time, freq / 4, 4 · 32]`. The packed kernel is built from the plain one: every packed bin reads its
neighbours from the same group or the next. The result is the plain layer's except for the order of additions.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from audiosep_jax.config import ModelConfig
from audiosep_jax.models import accelerator_convolution
from audiosep_jax.models.convolution import average_pool, convolve, upsample

PLAIN = 0
"""Plain layers, which are fastest on a CPU. A pack of 1 has the same shapes but runs the packed layers."""


def packs(config: ModelConfig, lanes: int) -> tuple[int, ...]:
    """Returns how many neighbouring frequency bins each level packs into its channels.

    One number per encoder block, and one for the bottleneck.

    The first level packs the largest power of two whose channels fit into `lanes`, each next level half as
    many, so that pooling never moves bins between groups. `lanes` of 0 or less give PLAIN for every level.
    """
    levels = range(len(config.encoder_widths) + 1)
    if lanes <= 0:
        return tuple(PLAIN for _ in levels)
    pack = 1
    while 2 * pack * config.encoder_widths[0] <= lanes and config.positions % (2 * pack) == 0:
        pack *= 2
    return tuple(max(1, pack >> level) for level in levels)


def bins_of(pack: int) -> int:
    """Returns the number of bins in the channels."""
    return max(1, pack)


def pack_kernel(
    kernel: Float[Array, "height width in out"], pack: int
) -> Float[Array, "height width2 packed_in packed_out"]:
    """Returns the kernel for channels packed by `pack` that is equal to `kernel` for plain ones.

    The width is odd and at most `2 · pack + 1`, with "same" padding.
    """
    height, width, features_in, features_out = kernel.shape
    if pack == 1:
        return kernel
    places = _places(width, pack)
    packed = jnp.einsum(
        "hwio,wgab->hgaibo", kernel, places.astype(kernel.dtype), precision=jax.lax.Precision.HIGHEST
    )
    return packed.reshape(height, places.shape[1], pack * features_in, pack * features_out)


def _places(width: int, pack: int) -> np.ndarray:
    """Returns 1 where tap, neighbouring group, bin in the group, and bin of the result fit, else 0."""
    reach = -(-(width // 2) // pack)
    places = np.zeros((width, 2 * reach + 1, pack, pack), np.float32)
    for tap in range(width):
        for out in range(pack):
            group, inner = divmod(out + tap - width // 2, pack)
            places[tap, group + reach, inner, out] = 1
    return places


def pool(
    inputs: Float[Array, "batch time freq channels"], stride: tuple[int, int], pack: int
) -> Float[Array, "batch time2 freq2 channels2"]:
    """Averages blocks of `stride` positions; packed neighbours are in the same group.

    The inputs are `[batch, time, freq / pack, pack · channels]`; the result is packed by half. The stride in
    frequency is 2.
    """
    if pack == PLAIN:
        return average_pool(inputs, stride)
    if pack == 1:
        # In float32, because four additions in a narrower type round four times.
        return average_pool(inputs.astype(jnp.float32), stride).astype(inputs.dtype)
    channels = inputs.shape[-1] // pack
    pairs = np.kron(np.repeat(np.eye(pack // 2), 2, axis=0), np.eye(channels)) / (2 * stride[0])
    kernel = jnp.asarray(np.broadcast_to(pairs, (stride[0], 1, *pairs.shape)), inputs.dtype)
    return jax.lax.conv_general_dilated(
        inputs, kernel, (stride[0], 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def packed_convolve(
    inputs: Float[Array, "batch time freq in"],
    kernel: Float[Array, "height width in2 out"],
    *,
    pack: int,
    widths: tuple[int, ...],
) -> Float[Array, "batch time freq out2"]:
    """Convolves with a plain float32 kernel and zero padding to the same size.

    The inputs have the parts' channels, of plain `widths`, one part after the other, each packed separately.
    """
    if pack == PLAIN:
        return convolve(inputs, kernel.astype(inputs.dtype))
    parts = jnp.split(kernel, np.cumsum(widths)[:-1], axis=2)
    return accelerator_convolution.convolve(
        inputs, jnp.concatenate([pack_kernel(part, pack) for part in parts], axis=2)
    )


def packed_upsample(
    inputs: Float[Array, "batch time freq in"], kernel: Float[Array, "height width in2 out"], *, pack: int
) -> Float[Array, "batch time2 freq2 out2"]:
    """Transposed convolution with a stride of the plain float32 kernel's size, whose width is 2.

    The result is packed by `pack`, the inputs by half of it, or by 1 where that is not whole.
    """
    if pack == PLAIN:
        return upsample(inputs, kernel.astype(inputs.dtype))
    height, width, features_in, features_out = kernel.shape
    if pack == 1:
        return accelerator_convolution.upsample(inputs, kernel)
    before = pack // width
    own = jnp.eye(before, dtype=kernel.dtype)
    packed = jnp.einsum("hwio,ab->haibwo", kernel, own, precision=jax.lax.Precision.HIGHEST)
    shape = (height, 1, before * features_in, math.prod((before, width, features_out)))
    return accelerator_convolution.upsample(inputs, packed.reshape(shape))
