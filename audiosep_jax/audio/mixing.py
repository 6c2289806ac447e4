"""Mixes clips on the device, with the reference's loudness augmentation."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from audiosep_jax.audio.gains import PEAK

_LOWEST_ENERGY = 1e-10
_RATIO_RANGE = (0.02, 50.0)


def mix(
    segments: Float[Array, "batch sources samples"],
    gains_db: Int[Array, "batch sources"],
    *,
    counts: Int[Array, " batch"] | None = None,
    snr_db: Float[Array, " batch"] | None = None,
    level_db: Float[Array, " batch"] | None = None,
    absent: Bool[Array, " batch"] | None = None,
) -> tuple[Float[Array, "batch samples"], Float[Array, "batch samples"]]:
    """Mixes each target with its interferers (AudioSep's `SegmentMixer`).

    Each interferer is scaled to the target's energy and raised by its gain; then their sum is, in the same
    way. A mixture whose peak exceeds 1 is scaled to a peak of 0.9, together with its target. An interferer of
    zeros changes nothing.

    Args:
      segments: `[batch, sources, samples]`, the target first.
      gains_db: `[batch, sources]`; the gains of the interferers in order, then that of their sum, which
        `snr_db` replaces.
      counts: `[batch]`, number of sources in each mixture, including the target; None takes all.
      snr_db: `[batch]`, mean energy of the target over that of the sum of interferers; it is met exactly. A
        target below -100 dB of full scale counts as that loud. None gives the sum its gain, and scales it by
        a factor between 0.02 and 50.
      level_db: `[batch]`, gain of mixture and target, before the peak is limited.
      absent: `[batch]`, true if the query's sound is not in the mixture: the target becomes silence.

    Returns:
      Mixture and target, `[batch, samples]` each.

    Raises:
      ValueError: there are no interferers, or the gains do not match the segments.
    """
    batch, sources, _ = segments.shape
    if sources < 2 or gains_db.shape != (batch, sources):
        raise ValueError(
            f"segments {segments.shape} need two sources or more and gains of shape {(batch, sources)}, "
            f"got {gains_db.shape}"
        )
    target = segments[:, 0]
    gains = jnp.power(jnp.asarray(10.0, segments.dtype), gains_db.astype(segments.dtype) / 20)
    interferers = _match_energy(segments[:, 1:], target[:, None]) * gains[:, :-1, None]
    if counts is not None:
        taken = jnp.arange(1, sources)[None] < counts[:, None]
        interferers = jnp.where(taken[..., None], interferers, 0)
    background = jnp.sum(interferers, axis=1)
    if snr_db is None:
        background = _match_energy(background, target) * gains[:, -1:]
    else:
        background = _at_snr(background, target, snr_db[:, None])
    mixture = target + background
    if absent is not None:
        target = jnp.where(absent[:, None], 0, target)
    if level_db is not None:
        level = jnp.power(jnp.asarray(10.0, segments.dtype), level_db[:, None] / 20)
        mixture, target = mixture * level, target * level
    peak = jnp.max(jnp.abs(mixture), axis=-1, keepdims=True)
    scale = jnp.where(peak > 1, PEAK / jnp.maximum(peak, 1), 1)
    return mixture * scale, target * scale


def _match_energy(audio: Array, reference: Array) -> Array:
    """Scales `audio` to the mean energy of `reference`, by a factor between 0.02 and 50."""
    ratio = jnp.sqrt(
        jnp.mean(audio**2, -1, keepdims=True)
        / jnp.maximum(jnp.mean(reference**2, -1, keepdims=True), _LOWEST_ENERGY)
    )
    return audio / jnp.clip(ratio, *_RATIO_RANGE)


def _at_snr(audio: Array, reference: Array, snr_db: Array) -> Array:
    """Scales `audio` by `gains.gain_at_snr`, for batches under `jit`; silence stays silent."""
    audio = audio / jnp.maximum(jnp.max(jnp.abs(audio), -1, keepdims=True), jnp.finfo(audio.dtype).tiny)
    energy = jnp.mean(audio**2, -1, keepdims=True)
    wanted = jnp.maximum(jnp.mean(reference**2, -1, keepdims=True), _LOWEST_ENERGY)
    amplitude = jnp.power(jnp.asarray(10.0, audio.dtype), -snr_db / 20)
    return audio * jnp.where(energy > 0, jnp.sqrt(wanted / jnp.where(energy > 0, energy, 1)) * amplitude, 0)
