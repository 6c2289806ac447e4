"""The augmentation of `augmentation.py` for many sounds at once, on an accelerator."""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from audiosep_jax.config import AugmentConfig
from data_pipelines.mixtures.augmentation import (
    DIRECT_SECONDS,
    LOWEST_OCTAVE_HZ,
    ROLL_OFF,
    octave_count,
    transform_size,
)

_HALF_TAPS = 12
"""Samples on each side that a resampled value is interpolated from."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Treatments:
    """The numbers of `augmentation.Treatment`, each `[…]`; `octaves_db` is `[…, octaves]`.

    Without equalizer the gains are 0, without low-pass filter `low_pass_hz` is 0, without reverberation
    `reverb_seconds` is.
    """

    speed: jax.Array
    octaves_db: jax.Array
    low_pass_hz: jax.Array
    reverb_seconds: jax.Array
    reverb_db: jax.Array


def draw_treatments(
    config: AugmentConfig, key: Array, shape: tuple[int, ...], *, sample_rate_hz: int
) -> Treatments:
    """Draws treatments with the distribution of `augmentation.draw_treatment`."""
    keys = jax.random.split(key, 7)
    low_pass_hz = _log_uniform(keys[2], shape, *config.low_pass_range_hz)
    low_passed = jax.random.uniform(keys[3], shape) < config.low_pass_share
    reverberant = jax.random.uniform(keys[4], shape) < config.reverb_share
    octaves = octave_count(sample_rate_hz)
    return Treatments(
        speed=_log_uniform(keys[0], shape, *config.speed_range),
        octaves_db=config.equalizer_db * jax.random.normal(keys[1], (*shape, octaves)),
        low_pass_hz=jnp.where(low_passed & (low_pass_hz < sample_rate_hz / 2), low_pass_hz, 0),
        reverb_seconds=jnp.where(reverberant, _log_uniform(keys[5], shape, *config.reverb_range_seconds), 0),
        reverb_db=jnp.where(reverberant, jax.random.uniform(keys[6], shape, minval=-20.0, maxval=0.0), 0),
    )


def tail_samples(config: AugmentConfig, sample_rate_hz: int) -> int:
    """Returns the samples of the longest reverberation, 0 if there is none."""
    return math.ceil(config.reverb_range_seconds[1] * sample_rate_hz) if config.reverb_share else 0


def fixed_speed(
    config: AugmentConfig, segment: int, speed: Float[Array, "..."]
) -> tuple[Int[Array, "..."], int]:
    """Returns speeds as integers and the number of their binary places.

    Float32 cannot tell where in a long segment a sample lies between two others; 31 bits can.
    """
    places = 30 - math.ceil(math.log2(max(2, segment * config.speed_range[1])))
    return jnp.round(speed * 2**places).astype(jnp.int32), places


def played(
    sound: Int[Array, " all"],
    begin: Int[Array, "..."],
    bounds: tuple[Int[Array, "..."], Int[Array, "..."]],
    times: Int[Array, "... samples"],
    config: AugmentConfig,
    speed: Float[Array, "..."],
) -> Float[Array, "... samples"]:
    """Reads sounds at a speed from one long array, in [-1, 1).

    Speeds other than 1 are interpolated by a windowed sinc, with a lower cutoff for higher speeds.

    Args:
      sound: int16 `[all]`, shorter than 2³¹.
      begin: `[…]`, place of time 0.
      bounds: `[…]` each, first place of the sound, and the one after its last; what lies outside is silent.
      times: `[…, samples]`, in samples of the played sound, from 0 on.
      config: whether there are speeds.
      speed: `[…]`.
    """
    first, end = (bound[..., None] for bound in bounds)

    def at(place: Array) -> Array:
        inside = (place >= first) & (place < end)
        return jnp.where(inside, sound.at[place].get(mode="clip").astype(jnp.float32) / 32768, 0)

    if config.speed_range == (1.0, 1.0):
        return at(begin[..., None] + times)
    step, places = fixed_speed(config, times.shape[-1], speed)
    position = times * step[..., None]
    whole = begin[..., None] + (position >> places)
    between = (position & (2**places - 1)).astype(jnp.float32) / 2**places
    cutoff = jnp.minimum(1, 1 / speed)[..., None]
    total = jnp.zeros(times.shape, jnp.float32)
    for tap in range(1 - _HALF_TAPS, _HALF_TAPS + 1):
        distance = tap - between
        window = 0.5 + 0.5 * jnp.cos(jnp.pi * distance / _HALF_TAPS)
        total = total + at(whole + tap) * window * cutoff * jnp.sinc(cutoff * distance)
    return jnp.where(speed[..., None] == 1, at(whole), total)


def filtered(
    segments: Float[Array, "... samples"],
    treatments: Treatments,
    noise: Float[Array, "... tail"] | None,
    *,
    config: AugmentConfig,
    sample_rate_hz: int,
) -> Float[Array, "... samples"]:
    """Returns segments with frequency response, bandwidth and reverberation, as `augmentation.filtered`.

    `noise` is normal and as long as the longest reverberation (`tail_samples`), or None without one.
    """
    if not config.filters:
        return segments
    samples = segments.shape[-1]
    tail = 0 if noise is None else noise.shape[-1]
    size = transform_size(samples + tail, sample_rate_hz)
    spectrum = jnp.fft.rfft(segments, size)
    response = _response(treatments, size, sample_rate_hz, config)
    if response is not None:
        spectrum = spectrum * response.astype(spectrum.dtype)
    if noise is not None:
        spectrum = spectrum * jnp.fft.rfft(_rooms(treatments, noise, sample_rate_hz), size)
    return jnp.fft.irfft(spectrum, size)[..., :samples]


def _response(treatments: Treatments, size: int, rate: int, config: AugmentConfig) -> Array | None:
    hertz = jnp.arange(size // 2 + 1, dtype=jnp.float32) * (rate / size)
    response = None
    if config.equalizer_db:
        gains_db = treatments.octaves_db
        octaves = jnp.clip(jnp.log2(jnp.maximum(hertz, 1) / LOWEST_OCTAVE_HZ), 0, gains_db.shape[-1] - 1)
        below = (
            jnp.minimum(octaves.astype(jnp.int32), gains_db.shape[-1] - 2) if gains_db.shape[-1] > 1 else 0
        )
        above = jnp.minimum(below + 1, gains_db.shape[-1] - 1)
        share = (octaves - jnp.asarray(below, jnp.float32)).reshape((1,) * (gains_db.ndim - 1) + (-1,))
        low, high = jnp.take(gains_db, below, axis=-1), jnp.take(gains_db, above, axis=-1)
        response = jnp.power(jnp.float32(10), (low + share * (high - low)) / 20)
    if config.low_pass_share:
        edge = treatments.low_pass_hz[..., None]
        axis = hertz.reshape((1,) * (edge.ndim - 1) + (-1,))
        slope = jnp.clip((edge - axis) / (ROLL_OFF * jnp.maximum(edge, 1)) + 1, 0, 1)
        slope = jnp.where(edge > 0, slope, 1)
        response = slope if response is None else response * slope
    return response


def _rooms(treatments: Treatments, noise: Array, rate: int) -> Array:
    """Returns impulse responses `[…, tail]`: the direct sound, then decaying noise of the given energy."""
    length = jnp.round(treatments.reverb_seconds * rate)[..., None]
    time = jnp.arange(noise.shape[-1], dtype=jnp.float32).reshape((1,) * (noise.ndim - 1) + (-1,))
    noise = noise * jnp.exp(-3 * math.log(10) * time / jnp.maximum(length, 1))
    noise = jnp.where((time < length) & (time >= round(DIRECT_SECONDS * rate)), noise, 0)
    energy = jnp.sum(noise**2, axis=-1, keepdims=True)
    wanted = jnp.power(jnp.float32(10), treatments.reverb_db / 10)[..., None]
    noise = noise * jnp.sqrt(wanted / jnp.where(energy > 0, energy, 1))
    return jnp.where(time == 0, 1, noise)


def _log_uniform(key: Array, shape: tuple[int, ...], low: float, high: float) -> Array:
    if low == high:
        return jnp.full(shape, low, jnp.float32)
    return jnp.exp(jax.random.uniform(key, shape, minval=math.log(low), maxval=math.log(high)))
