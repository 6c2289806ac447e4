"""The parts of the separator without parameters: spectrum, mask, and inverse transform."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from audiosep_jax.audio.stft import istft, stft
from audiosep_jax.config import ModelConfig

SMALLEST_POWER = 1e-10

Bins = Float[Array, "batch frames bins"]
Mask = tuple[Bins, Bins, Bins]


def separate(
    config: ModelConfig,
    mixture: Float[Array, "batch samples"],
    mask_of: Callable[[Array], Mask],
) -> Float[Array, "batch samples"]:
    """Masks the mixture's spectrogram, for any length, with a network's output for its magnitude.

    `mask_of` is the network, from magnitude `[batch, frames, bins]` to the mask, as `activate` returns it.
    """
    samples = mixture.shape[-1]
    # `benchmarks.profile` reads these names.
    with jax.named_scope("stft"):
        real, imag, magnitude = spectrum(config, mixture)
    mask = mask_of(magnitude)
    with jax.named_scope("mask"):
        real, imag = masked(real, imag, magnitude, mask)
    with jax.named_scope("istft"):
        estimate = istft(
            real,
            imag,
            window_length=config.window_length,
            hop_length=config.hop_length,
            samples=padded_samples(config, samples),
        )
    return jax.lax.slice_in_dim(estimate, 0, samples, axis=1)


def masked(real: Bins, imag: Bins, magnitude: Bins, mask: Mask) -> tuple[Bins, Bins]:
    """Returns the real and imaginary part of a spectrum with masked magnitude and rotated phase."""
    gain, cos_mask, sin_mask = mask
    cos, sin = real / magnitude, imag / magnitude
    estimate = jax.nn.relu(magnitude * gain)
    return estimate * (cos * cos_mask - sin * sin_mask), estimate * (sin * cos_mask + cos * sin_mask)


def spectrum(config: ModelConfig, mixture: Float[Array, "batch samples"]) -> tuple[Bins, Bins, Bins]:
    """Returns real part, imaginary part and magnitude of the STFT; the magnitude is never 0."""
    samples = mixture.shape[-1]
    padded = jnp.pad(mixture, ((0, 0), (0, padded_samples(config, samples) - samples)))
    real, imag = stft(padded, window_length=config.window_length, hop_length=config.hop_length)
    return real, imag, jnp.sqrt(jnp.maximum(real**2 + imag**2, SMALLEST_POWER))


def activate(logits: Float[Array, "batch frames bins 3"]) -> Mask:
    """Returns the mask of the magnitude, and cosine and sine of the rotation of the phase.

    Kong et al. 2021, decoupled magnitude and phase. The mask is in (0, 1). In the highest bin, which the
    network does not get, cosine and sine are both 0, so the bin is silent.
    """
    # Not logits[..., 0], which is a gather for a symbolic batch.
    mask, real, imag = (jax.lax.index_in_dim(logits, i, axis=-1, keepdims=False) for i in range(3))
    mask, real, imag = jax.nn.sigmoid(mask), jnp.tanh(real), jnp.tanh(imag)
    length = jnp.sqrt(jnp.maximum(real**2 + imag**2, SMALLEST_POWER))
    return mask, real / length, imag / length


def padded_samples(config: ModelConfig, samples: int) -> int:
    """Returns the padded length: reflect padding needs more than half a window."""
    return max(samples, config.window_length // 2 + 1)
