"""The FiLM-conditioned ResUNet30: a magnitude spectrogram in, three mask channels out."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from audiosep_jax.config import FilmKind, ModelConfig
from audiosep_jax.models.convolution import average_pool
from audiosep_jax.models.layers import BatchNorm, Convolution, FiLM, UpConvolution

NEGATIVE_SLOPE = 0.01


def pooling_strides(config: ModelConfig) -> list[tuple[int, int]]:
    """Returns by how much each encoder block shrinks time and frequency; the decoder grows in reverse."""
    return [(2, 2)] * (len(config.encoder_widths) - 1) + [(1, 2)]


class NormalizedActivation(nn.Module):
    """BatchNorm, FiLM, leaky ReLU."""

    film: FilmKind

    @nn.compact
    def __call__(
        self,
        inputs: Float[Array, "batch time freq channels"],
        condition: Float[Array, "batch size"],
        train: bool,
    ) -> Float[Array, "batch time freq channels"]:
        normalized = BatchNorm(name="bn")(inputs, train)
        modulated = FiLM(self.film, name="film")(normalized, condition)
        return jax.nn.leaky_relu(modulated, NEGATIVE_SLOPE)


class ResidualBlock(nn.Module):
    """Two pre-activated 3×3 convolutions around a shortcut (the reference's `ConvBlockRes`)."""

    features: int
    film: FilmKind

    @nn.compact
    def __call__(
        self, inputs: Float[Array, "batch time freq in"], condition: Float[Array, "batch size"], train: bool
    ) -> Float[Array, "batch time freq out"]:
        hidden = NormalizedActivation(self.film, name="norm1")(inputs, condition, train)
        hidden = Convolution(self.features, size=3, use_bias=False, name="conv1")(hidden)
        hidden = NormalizedActivation(self.film, name="norm2")(hidden, condition, train)
        hidden = Convolution(self.features, size=3, use_bias=False, name="conv2")(hidden)
        if inputs.shape[-1] != self.features:
            inputs = Convolution(self.features, size=1, use_bias=True, name="shortcut")(inputs)
        return inputs + hidden


class DecoderBlock(nn.Module):
    """Upsamples, joins the encoder's skip, and refines."""

    features: int
    stride: tuple[int, int]
    film: FilmKind
    unused_tensors: bool

    @nn.compact
    def __call__(
        self,
        inputs: Float[Array, "batch time freq in"],
        skip: Float[Array, "batch time2 freq2 out"],
        condition: Float[Array, "batch size"],
        train: bool,
    ) -> Float[Array, "batch time2 freq2 out"]:
        if self.unused_tensors:
            # The result is dropped, as in the reference: only the tensors matter, for the round trip.
            NormalizedActivation(self.film, name="unused_norm")(inputs[:, :1, :1], condition, False)
        hidden = NormalizedActivation(self.film, name="norm")(inputs, condition, train)
        hidden = UpConvolution(self.features, self.stride, name="up")(hidden)
        hidden = jnp.concatenate([hidden, skip], axis=-1)
        return ResidualBlock(self.features, self.film, name="block")(hidden, condition, train)


class ResUNet(nn.Module):
    """ResUNet30 with FiLM; every convolution block is conditioned.

    The last encoder block pools only frequency, so that time shrinks by 2 to the number of encoder
    blocks less one.
    """

    config: ModelConfig

    @nn.compact
    def __call__(
        self,
        magnitude: Float[Array, "batch frames bins"],
        condition: Float[Array, "batch size"],
        train: bool,
    ) -> Float[Array, "batch frames bins 3"]:
        """Returns the mask logits `[batch, frames, window // 2 + 1, 3]` (magnitude, real, imaginary)."""
        config = self.config
        if config.magnitude_power != 1:
            magnitude = magnitude**config.magnitude_power
        hidden = BatchNorm(name="bn0")(magnitude, train)
        frames = hidden.shape[1]
        padding = -frames % config.time_multiple
        # The Nyquist bin is dropped so that the frequency axis halves evenly.
        hidden = jnp.pad(hidden, ((0, 0), (0, padding), (0, 0)))[:, :, :-1, None]
        hidden = Convolution(config.encoder_widths[0], size=1, use_bias=True, name="pre_conv")(hidden)

        strides = pooling_strides(config)
        skips = []
        for index, (width, stride) in enumerate(zip(config.encoder_widths, strides, strict=True), start=1):
            hidden = ResidualBlock(width, config.film, name=f"encoder{index}")(hidden, condition, train)
            skips.append(hidden)
            hidden = average_pool(hidden, stride)
        for index in range(1, config.bottleneck_blocks + 1):
            block = ResidualBlock(config.encoder_widths[-1], config.film, name=f"bottleneck{index}")
            hidden = block(hidden, condition, train)
        for index, stride in enumerate(reversed(strides), start=1):
            skip = skips.pop()
            block = DecoderBlock(
                skip.shape[-1], stride, config.film, config.unused_tensors, name=f"decoder{index}"
            )
            hidden = block(hidden, skip, condition, train)

        logits = Convolution(3, size=1, use_bias=True, name="after_conv")(hidden)
        return jnp.pad(logits, ((0, 0), (0, 0), (0, 1), (0, 0)))[:, :frames]
