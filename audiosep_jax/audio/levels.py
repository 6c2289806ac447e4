"""The level of a recording, and the gain that brings it to the level that a model works at."""

import math
from array import array
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

QUIETEST_DB = -100.0
"""Levels below this count as this, in dBFS: there, the least step of 16 bits is louder than the sound."""

_SEGMENT_SECONDS = 0.1

# A click lies in at most two segments.
_OF_A_CLICK = 2

# Energy of a segment relative to the loudest that is no click.
_QUIET = 1e-2

# Energy of a segment relative to its constant part: less is the rounding of float32.
_ROUNDING = 1e-12


class LevelMeter:
    """Measures the level of a mixture that arrives in blocks, whose sizes change nothing.

    The level is a gated root mean square. The mixture is divided into segments of 0.1 s. Each loses its mean,
    and its loudest channel counts. The two loudest of ten or more segments (one of five to nine) count as
    loud as the next one, because a click would be in them. Segments 20 dB below that one do not count.

    Args:
      channels, sample_rate_hz: of the mixture.
    """

    def __init__(self, *, channels: int, sample_rate_hz: int) -> None:
        self._segment = max(1, round(_SEGMENT_SECONDS * sample_rate_hz))
        self._waiting = np.zeros((channels, 0), np.float32)
        self._energies = array("d")  # eight bytes a segment: 0.3 MB an hour
        self._forgotten = 0

    def push(self, mixture: Float[np.ndarray, "channels samples"]) -> None:
        """Takes the next samples."""
        waiting = np.concatenate([self._waiting, mixture], axis=1)
        whole = waiting.shape[1] // self._segment * self._segment
        for start in range(0, whole, self._segment):
            self._energies.append(_energy(waiting[:, start : start + self._segment]))
        self._waiting = waiting[:, whole:]

    def level_db(self) -> float:
        """Returns the level of the whole mixture in dBFS; -inf for silence."""
        if self._energies or not self._waiting.size:
            return _level_db(np.array(self._energies))
        return _level_db(np.array([_energy(self._waiting)]))

    def level_before_db(self, end: int, *, seconds: float) -> float:
        """Returns the level of the segments in the last seconds before a sample; -inf for silence."""
        if not self._energies:
            return self.level_db()
        last = max(0, end // self._segment - self._forgotten)
        first = max(0, last - round(seconds / _SEGMENT_SECONDS))
        return _level_db(np.array(self._energies[first:last]))

    def forget(self, *, seconds: float) -> None:
        """Forgets all segments but those of the last seconds."""
        excess = max(0, len(self._energies) - round(seconds / _SEGMENT_SECONDS))
        del self._energies[:excess]
        self._forgotten += excess


def level_db(mixture: Float[np.ndarray, "channels samples"], *, sample_rate_hz: int) -> float:
    """Returns the level of a mixture in dBFS, as `LevelMeter` measures it; -inf for silence.

    Examples:
      >>> sine = np.sin(np.arange(8000) * 0.1)[None]
      >>> round(level_db(sine, sample_rate_hz=8000), 1)
      -3.0
    """
    meter = LevelMeter(channels=len(mixture), sample_rate_hz=sample_rate_hz)
    meter.push(mixture)
    return meter.level_db()


def gain_to(working_level_db: float, level_db: float) -> np.float32:
    """Returns the gain from one level to another; 1 for silence. Levels below -100 dBFS count as that.

    Examples:
      >>> float(gain_to(-20.0, -40.0)), float(gain_to(-20.0, -math.inf))
      (10.0, 1.0)
    """
    if level_db == -math.inf:
        return np.float32(1)
    return np.float32(10 ** ((working_level_db - max(level_db, QUIETEST_DB)) / 20))


def row_gains(
    rows: Iterable[Float[np.ndarray, " samples"]], *, sample_rate_hz: int, working_level_db: float
) -> Float32[np.ndarray, "rows 1"]:
    """Returns the gain of every row, of one channel, to a level; the rows may have different lengths."""
    levels = [level_db(np.asarray(row)[None], sample_rate_hz=sample_rate_hz) for row in rows]
    return np.stack([gain_to(working_level_db, level) for level in levels])[:, None]


def at_working_level(
    apply: Callable[..., Any], *, sample_rate_hz: int, working_level_db: float | None
) -> Callable[..., Any]:
    """Wraps a separator of batches so that every row is brought to a level before it, and back after it.

    Args:
      apply: `(mixture [batch, samples], *others) -> estimate [batch, samples]`.
      sample_rate_hz: of the rows.
      working_level_db: None returns `apply` itself.
    """
    if working_level_db is None:
        return apply

    def levelled(mixture: np.ndarray, *others: np.ndarray) -> np.ndarray:
        rows = np.asarray(mixture)
        gains = row_gains(rows, sample_rate_hz=sample_rate_hz, working_level_db=working_level_db)
        return np.asarray(apply(rows * gains, *others)) / gains

    return levelled


def _energy(segment: np.ndarray) -> float:
    """Returns the mean square of the loudest channel, without every channel's mean."""
    samples = np.ascontiguousarray(segment, np.float64)
    means = samples.mean(axis=1, keepdims=True)
    energies = np.square(samples - means).mean(axis=1)
    return float(np.where(energies > _ROUNDING * np.square(means[:, 0]), energies, 0).max())


def _level_db(energies: np.ndarray) -> float:
    if not len(energies):
        return -math.inf
    dropped = min(_OF_A_CLICK, len(energies) // 5)
    loudest = np.partition(energies, len(energies) - 1 - dropped)[len(energies) - 1 - dropped]
    if loudest <= 0:  # silence, or a click alone
        loudest = energies.max()
    energies = np.minimum(energies, loudest)
    counted = energies[energies >= _QUIET * loudest]
    mean = float(counted.mean())
    return 10 * math.log10(mean) if mean > 0 else -math.inf
