"""Changes a clip's sound before it is mixed: speed, frequency response, bandwidth, reverberation."""

import dataclasses
import functools
import math

import numpy as np
import scipy.fft
import soxr
from jaxtyping import Float32

from audiosep_jax.config import AugmentConfig

LOWEST_OCTAVE_HZ = 62.5
ROLL_OFF = 0.1  # width of the low-pass filter's slope, as a share of its frequency
DIRECT_SECONDS = 0.002


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Treatment:
    """All random numbers of one sound's augmentation.

    Attributes:
      speed: of playback.
      octaves_db: gain at 62.5 Hz and at every octave above it; in between it is interpolated.
      low_pass_hz: everything above is removed; 0 removes nothing.
      reverb_seconds: reverberation time; 0 for none.
      reverb_db: energy of the reverberation relative to the direct sound.
      reverb_seed: of the noise that it is made of.
    """

    speed: float = 1.0
    octaves_db: tuple[float, ...] = ()
    low_pass_hz: float = 0.0
    reverb_seconds: float = 0.0
    reverb_db: float = 0.0
    reverb_seed: int = 0

    @property
    def filters(self) -> bool:
        """Whether anything but the speed changes."""
        return bool(self.octaves_db or self.low_pass_hz or self.reverb_seconds)


def octave_count(sample_rate_hz: int) -> int:
    """Returns the number of gains of an equalizer: at 62.5 Hz and every octave up to half the rate."""
    return max(1, math.floor(math.log2(sample_rate_hz / 2 / LOWEST_OCTAVE_HZ)) + 1)


def draw_treatment(config: AugmentConfig, rng: np.random.Generator, *, sample_rate_hz: int) -> Treatment:
    """Draws a treatment; every number is drawn, used or not, so that one option does not change another."""
    octaves = octave_count(sample_rate_hz)
    speed = _log_uniform(rng, *config.speed_range)
    gains = rng.normal(size=octaves) * config.equalizer_db
    low_passed, low_pass_hz = (
        rng.random() < config.low_pass_share,
        _log_uniform(rng, *config.low_pass_range_hz),
    )
    reverberant, seconds = rng.random() < config.reverb_share, _log_uniform(rng, *config.reverb_range_seconds)
    reverb_db, reverb_seed = float(rng.uniform(-20, 0)), int(rng.integers(2**31))
    return Treatment(
        speed=speed,
        octaves_db=tuple(gains.tolist()) if config.equalizer_db else (),
        low_pass_hz=low_pass_hz if low_passed and low_pass_hz < sample_rate_hz / 2 else 0.0,
        reverb_seconds=seconds if reverberant else 0.0,
        reverb_db=reverb_db if reverberant else 0.0,
        reverb_seed=reverb_seed if reverberant else 0,
    )


def at_speed(
    sound: Float32[np.ndarray, " samples"], speed: float, *, samples: int
) -> Float32[np.ndarray, " out"]:
    """Returns the sound played at a speed, cut or filled with zeros to a length."""
    played = soxr.resample(sound, speed, 1.0, quality="MQ")[:samples]
    return np.pad(played, (0, samples - len(played))).astype(np.float32, copy=False)


def filtered(
    segment: Float32[np.ndarray, " samples"], treatment: Treatment, *, sample_rate_hz: int
) -> Float32[np.ndarray, " samples"]:
    """Returns a segment with the treatment's frequency response, bandwidth and reverberation.

    The response and the low-pass filter have no phase, so that the sound stays where it is. What rings
    beyond the segment is cut.
    """
    tail = round(treatment.reverb_seconds * sample_rate_hz)
    size = transform_size(len(segment) + tail, sample_rate_hz)
    spectrum = np.asarray(scipy.fft.rfft(segment, size))
    if treatment.octaves_db or treatment.low_pass_hz:
        spectrum *= _response(treatment.octaves_db, treatment.low_pass_hz, size, sample_rate_hz)
    if tail:
        spectrum *= scipy.fft.rfft(_room(treatment, sample_rate_hz), size)
    return np.asarray(scipy.fft.irfft(spectrum, size))[: len(segment)].astype(np.float32, copy=False)


def transform_size(samples: int, sample_rate_hz: int) -> int:
    """Returns the length of a fast transform with room for what a filter rings, 20 ms."""
    size = scipy.fft.next_fast_len(samples + sample_rate_hz // 50, real=True)
    assert size is not None  # only its type says so
    return size


def _response(octaves_db: tuple[float, ...], low_pass_hz: float, size: int, rate: int) -> np.ndarray:
    octaves, hertz = _axis(size, rate)
    gains_db = np.zeros(len(hertz), np.float32)
    if octaves_db:
        gains_db += np.interp(octaves, np.arange(len(octaves_db)), octaves_db).astype(np.float32)
    response = 10 ** (gains_db / 20)
    if low_pass_hz:
        response *= np.clip((low_pass_hz - hertz) / (ROLL_OFF * low_pass_hz) + 1, 0, 1)
    return response


@functools.lru_cache(maxsize=8)
def _axis(size: int, rate: int) -> tuple[np.ndarray, np.ndarray]:
    hertz = np.arange(size // 2 + 1, dtype=np.float32) * (rate / size)
    return np.log2(np.maximum(hertz, 1) / LOWEST_OCTAVE_HZ), hertz


def _room(treatment: Treatment, rate: int) -> np.ndarray:
    """Returns an impulse response: the direct sound, then decaying noise of the given energy."""
    samples = max(1, round(treatment.reverb_seconds * rate))
    noise = np.random.default_rng(treatment.reverb_seed).standard_normal(samples, np.float32)
    noise *= np.exp(np.arange(samples, dtype=np.float32) * (-3 * math.log(10) / samples))
    noise[: round(DIRECT_SECONDS * rate)] = 0
    energy = float(noise @ noise)
    if energy:
        noise *= math.sqrt(10 ** (treatment.reverb_db / 10) / energy)
    noise[0] = 1
    return noise


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(math.exp(rng.uniform(math.log(low), math.log(high))))
