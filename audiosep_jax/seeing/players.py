"""Sounds as they are put into a page: 16-bit FLAC, lossless and about half as large as WAV."""

import io

import numpy as np
import soundfile
from jaxtyping import Float

from audiosep_jax.audio.containers import quantise
from audiosep_jax.errors import AudioSepError

PLAYED_BY = (
    "The players hold 16-bit FLAC. Chrome from 56, Edge from 16, Firefox from 51 and Safari from 13 (11 on "
    "iPhone and iPad) play it."
)
_MOST_CHANNELS = 2
_MOST_HZ = 192_000


def check_rate(sample_rate_hz: int, *, name: str) -> None:
    """Checks that browsers play sounds of a rate.

    Raises:
      AudioSepError: they do not.
    """
    if sample_rate_hz > _MOST_HZ:
        raise AudioSepError(
            f"{name} has {sample_rate_hz} samples a second, and browsers play at most {_MOST_HZ}: convert it "
            "to a lower rate."
        )


def playable(waveform: Float[np.ndarray, "channels samples"]) -> Float[np.ndarray, "heard samples"]:
    """Returns what a player gets of a recording: its channels, or their mean where there are over two."""
    return waveform if len(waveform) <= _MOST_CHANNELS else waveform.mean(axis=0, keepdims=True)


def flac(waveform: Float[np.ndarray, "channels samples"], *, sample_rate_hz: int) -> bytes:
    """Encodes a sound as 16-bit FLAC; decoded, it is the waveform rounded to 16 bits.

    Args:
      waveform: `[channels, samples]` in ±1; louder samples are clipped.
      sample_rate_hz: its rate.
    """
    steps = quantise(waveform, 16).astype(np.int16)
    file = io.BytesIO()
    soundfile.write(file, np.ascontiguousarray(steps.T), sample_rate_hz, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def common_gain(*waveforms: Float[np.ndarray, "channels samples"]) -> float:
    """Returns the one gain, at most 1, that brings all sounds into ±1, so that they stay comparable."""
    peak = max(float(np.abs(waveform).max(initial=0.0)) for waveform in waveforms)
    return min(1.0, 1.0 / peak) if peak else 1.0


def largest_bytes(samples: int, channels: int, sounds: int) -> int:
    """What the players of several sounds take in a page at most: base64 of sound that does not compress."""
    heard = channels if channels <= _MOST_CHANNELS else 1
    # FLAC writes verbatim what does not compress, with a few per cent of headers.
    return sounds * int(1.03 * 2 * samples * heard * 4 / 3) + sounds * 16_384
