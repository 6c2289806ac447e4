"""Mixtures of different lengths in one batch, each separated as if alone."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from audiosep_jax.audio.stft import istft, stft
from audiosep_jax.config import ModelConfig
from audiosep_jax.models import masking
from audiosep_jax.models.resunet import ResUNet
from audiosep_jax.models.separator import Variables


def batch_samples(config: ModelConfig, samples: int) -> int:
    """Returns the length of the rows of a batch that holds a mixture of `samples` samples.

    The network pads frames to a multiple, so lengths within one multiple take the same time and share a
    program.
    """
    step = config.hop_length * config.time_multiple
    return -(-(masking.padded_samples(config, samples) + 1) // step) * step - 1


def apply(
    config: ModelConfig,
    variables: Variables,
    mixture: Float[Array, "batch samples"],
    condition: Float[Array, "batch size"],
    lengths: Int[Array, " batch"],
) -> Float[Array, "batch samples"]:
    """Separates the first `lengths` samples of every row as `separator.apply` does a batch of that length.

    Reflect padding starts at the end of each row, frames after it are treated as the network's own padding,
    and the inverse transform counts only the row's frames. Samples after a row's end do not change the
    result; the estimate is zero there. A row has at least 1 sample, and is `batch_samples` long, so that the
    network's padding lies within.

    Raises:
      ValueError: the rows have a length that `batch_samples` does not return.
    """
    samples = mixture.shape[-1]
    if batch_samples(config, samples) != samples:
        raise ValueError(f"rows have {samples} samples: pad them to {batch_samples(config, samples)}.")
    window, hop = config.window_length, config.hop_length
    half = window // 2
    positions = jnp.arange(samples + half)[None]
    count = lengths[:, None]
    padded = jnp.pad(mixture, ((0, 0), (0, half)))
    padded = jnp.where(positions < count, padded, jnp.zeros_like(padded))
    # Rows shorter than half a window are padded with silence before reflection.
    ends = jnp.maximum(count, half + 1)
    mirrored = jnp.where(positions < ends, positions, 2 * (ends - 1) - positions)
    padded = jnp.take_along_axis(padded, jnp.maximum(mirrored, 0), axis=1)
    frames = ends[:, 0] // hop + 1

    real, imag = (
        part[:, : samples // hop + 1] for part in stft(padded, window_length=window, hop_length=hop)
    )
    magnitude = jnp.sqrt(jnp.maximum(real**2 + imag**2, masking.SMALLEST_POWER))
    inner = {name: variables[name]["resunet"] for name in ("params", "batch_stats")}
    logits = ResUNet(config).apply(inner, magnitude, condition, False, frames)
    inside = (jnp.arange(real.shape[1])[None] < frames[:, None])[:, :, None]
    real, imag = (
        jnp.where(inside, part, jnp.zeros_like(part))
        for part in masking.masked(real, imag, magnitude, masking.activate(logits))  # pyright: ignore[reportArgumentType]
    )
    estimate = istft(real, imag, window_length=window, hop_length=hop, samples=samples, frames=frames)
    return jnp.where(jnp.arange(samples)[None] < count, estimate, jnp.zeros_like(estimate))
