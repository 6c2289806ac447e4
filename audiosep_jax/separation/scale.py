"""Recordings whose samples lie far beyond full scale: mostly integers that were never divided."""

import warnings
from pathlib import Path

from audiosep_jax.errors import printable
from audiosep_jax.utils.warning_places import levels_to_caller

# 18 dB above full scale. Mixes in floating point exceed full scale, but not so far.
LOUDEST_SOUND = 8.0
"""Larger samples are warned of."""

# Full scales of 16, 24 and 32 bits; a sound of 8 bits cannot be told from a loud one.
_INTEGER_SCALES = (2**15, 2**23, 2**31)
_LEAST_INTEGER = 256


class ScaleWarning(UserWarning):
    """The samples of a recording are far beyond full scale, which is 1."""


def scale_warning(peak: float) -> str | None:
    """Returns the sentence that warns of samples far beyond full scale; None if there are none.

    Args:
      peak: largest magnitude of the recording.

    Examples:
      >>> print(scale_warning(32768.0))
      samples reach 32768, where full scale is 1: divide by 32768
      >>> print(scale_warning(20.0))
      samples reach 20, where full scale is 1: scale them down
      >>> scale_warning(1.5)
    """
    if peak <= LOUDEST_SOUND:
        return None
    advice = "scale them down"
    if peak > _LEAST_INTEGER:
        advice = f"divide by {next(scale for scale in _INTEGER_SCALES if peak <= scale)}"
    return f"samples reach {peak:.0f}, where full scale is 1: {advice}"


def warn_of_scale(peak: float, *, path: str | Path | None = None) -> None:
    """Warns of samples far beyond full scale, at the line of the program that called this package."""
    warning = scale_warning(peak)
    if warning is not None:
        place = "The waveform's" if path is None else f"{printable(path)}:"
        warnings.warn(f"{place} {warning}.", ScaleWarning, stacklevel=levels_to_caller())
