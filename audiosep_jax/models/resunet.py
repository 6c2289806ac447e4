"""The FiLM-conditioned ResUNet30: from a magnitude spectrogram to three mask channels."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from audiosep_jax.config import ExecutionConfig, FilmKind, ModelConfig, RematPolicy
from audiosep_jax.models.film import Normalization
from audiosep_jax.models.layers import BatchNorm, Convolution, UpConvolution
from audiosep_jax.models.packing import PLAIN, bins_of, packs, pool


def pooling_strides(config: ModelConfig) -> list[tuple[int, int]]:
    """Returns each encoder block's pooling in time and frequency; the decoder upsamples in reverse order."""
    return [(2, 2)] * (len(config.encoder_widths) - 1) + [(1, 2)]


class ResidualBlock(nn.Module):
    """Two pre-activated 3×3 convolutions around a shortcut (the reference's `ConvBlockRes`)."""

    features: int
    film: FilmKind
    pack: int = PLAIN
    remat: RematPolicy = "none"

    @nn.compact
    def __call__(
        self,
        parts: tuple[Float[Array, "batch time freq packed"], ...],
        condition: Float[Array, "batch size"],
        train: bool,
    ) -> Float[Array, "batch time freq out"]:
        def convolution(size: int, name: str) -> Convolution:
            return Convolution(
                self.features,
                size=size,
                use_bias=size == 1,
                pack=self.pack,
                keep_activation=self.remat == "none",
                name=name,
            )

        normalized = Normalization(self.film, self.pack, name="norm1")(parts, condition, train)
        hidden = convolution(3, "conv1")(normalized)
        normalized = Normalization(self.film, self.pack, name="norm2")((hidden,), condition, train)
        hidden = convolution(3, "conv2")(normalized)
        if sum(part.shape[-1] for part in parts) != self.features * bins_of(self.pack):
            return hidden + convolution(1, "shortcut")(parts)
        return hidden + parts[0]


def residual_block(
    features: int, film: FilmKind, pack: int, remat: RematPolicy, *, name: str
) -> ResidualBlock:
    """Returns a block; with `remat` "blocks" the backward pass computes it again."""
    kind = nn.remat(ResidualBlock, static_argnums=(3,)) if remat == "blocks" else ResidualBlock
    return kind(features, film, pack, remat, name=name)


class DecoderBlock(nn.Module):
    """Upsamples, joins the encoder's skip, and refines."""

    features: int
    stride: tuple[int, int]
    film: FilmKind
    unused_tensors: bool
    pack: int = PLAIN
    remat: RematPolicy = "none"

    @nn.compact
    def __call__(
        self,
        inputs: Float[Array, "batch time freq in"],
        skip: Float[Array, "batch time2 freq2 out"],
        condition: Float[Array, "batch size"],
        train: bool,
    ) -> Float[Array, "batch time2 freq2 out"]:
        before = PLAIN if self.pack == PLAIN else bins_of(self.pack // 2)
        if self.unused_tensors:
            # The result is not used, as in the reference; the tensors are kept for the round trip.
            Normalization(self.film, before, name="unused_norm")((inputs,), condition, False)
        normalized = Normalization(self.film, before, name="norm")((inputs,), condition, train)
        up = UpConvolution(self.features, self.stride, self.pack, self.remat == "none", name="up")
        parts = (up(normalized), skip)
        block = residual_block(self.features, self.film, self.pack, self.remat, name="block")
        return block(parts, condition, train)


class ResUNet(nn.Module):
    """ResUNet30 with FiLM; every convolution block is conditioned.

    The last encoder block pools only frequency, so the time axis shrinks by 2 to the power of (encoder blocks
    - 1).
    """

    config: ModelConfig
    execution: ExecutionConfig = ExecutionConfig()

    @nn.compact
    def __call__(
        self,
        magnitude: Float[Array, "batch frames bins"],
        condition: Float[Array, "batch size"],
        train: bool,
        counted: Int[Array, " batch"] | None = None,
    ) -> Float[Array, "batch frames bins 3"]:
        """Returns the mask logits `[batch, frames, window // 2 + 1, 3]` (magnitude, real, imaginary).

        Frames of a row from `counted` on are treated as the network's own padding.
        """
        config, execution = self.config, self.execution
        pack, *_ = levels = packs(config, execution.lanes)
        if config.magnitude_power != 1:
            magnitude = magnitude**config.magnitude_power
        mean, rstd, scale, bias = BatchNorm(name="bn0")((magnitude,), train)
        factor = scale * rstd
        hidden = magnitude * factor[None, None] + (bias - mean * factor)[None, None]
        frames = hidden.shape[1]
        if counted is not None:
            inside = jnp.arange(frames)[None] < counted[:, None]
            hidden = jnp.where(inside[:, :, None], hidden, jnp.zeros_like(hidden))
        padding = -frames % config.time_multiple
        # Without the Nyquist bin the frequency axis can be halved.
        hidden = jnp.pad(hidden, ((0, 0), (0, padding), (0, 0)))[:, :, :-1]
        channels = config.patch_bins * bins_of(pack)
        hidden = hidden.reshape(*hidden.shape[:2], -1, channels).astype(execution.compute)
        hidden = Convolution(config.encoder_widths[0], 1, True, pack, name="pre_conv")((hidden,))

        strides = pooling_strides(config)
        skips = []
        for index, (width, stride) in enumerate(zip(config.encoder_widths, strides, strict=True), start=1):
            pack = levels[index - 1]
            block = residual_block(width, config.film, pack, execution.remat, name=f"encoder{index}")
            hidden = block((hidden,), condition, train)
            skips.append(hidden)
            hidden = pool(hidden, stride, pack)
        for index in range(1, config.bottleneck_blocks + 1):
            width = config.encoder_widths[-1]
            block = residual_block(width, config.film, levels[-1], execution.remat, name=f"bottleneck{index}")
            hidden = block((hidden,), condition, train)
        for index, stride in enumerate(reversed(strides), start=1):
            skip, pack = skips.pop(), levels[-1 - index]
            width = skip.shape[-1] // bins_of(pack)
            block = DecoderBlock(
                width,
                stride,
                config.film,
                config.unused_tensors,
                pack,
                execution.remat,
                name=f"decoder{index}",
            )
            hidden = block(hidden, skip, condition, train)

        logits = Convolution(3 * config.patch_bins, size=1, use_bias=True, pack=pack, name="after_conv")(
            (hidden,)
        )
        logits = logits.astype(jnp.float32).reshape(*logits.shape[:2], -1, 3)
        return jnp.pad(logits, ((0, 0), (0, 0), (0, 1), (0, 0)))[:, :frames]
