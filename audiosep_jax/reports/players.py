"""Players of sounds in a page: 16-bit FLAC, lossless and about half as large as WAV."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
import soundfile
from jaxtyping import Float

from audiosep_jax.audio.pcm import quantise
from audiosep_jax.errors import ReportError
from audiosep_jax.reports import html_page as pages

PLAYED_BY = (
    "The players hold 16-bit FLAC. Chrome from 56, Edge from 16, Firefox from 51 and Safari from 13 (11 on "
    "iPhone and iPad) play it."
)
_MOST_CHANNELS = 2
_MOST_HZ = 192_000


def check_rate(sample_rate_hz: int, *, name: str) -> None:
    """Raises a ReportError where browsers do not play sounds of a rate."""
    if sample_rate_hz > _MOST_HZ:
        raise ReportError(
            f"{name} has {sample_rate_hz} samples a second, and browsers play at most {_MOST_HZ}: convert it "
            "to a lower rate."
        )


def flac(waveform: Float[np.ndarray, "channels samples"], *, sample_rate_hz: int) -> bytes:
    """Encodes a sound in ±1 as 16-bit FLAC, lossless after the rounding; louder samples are clipped."""
    steps = quantise(waveform, 16).astype(np.int16)
    file = io.BytesIO()
    soundfile.write(file, np.ascontiguousarray(steps.T), sample_rate_hz, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def listen(
    groups: Sequence[tuple[str, Mapping[str, Float[np.ndarray, "channels samples"]]]], *, sample_rate_hz: int
) -> list[pages.Html]:
    """Returns the players of groups of sounds; one gain for all keeps the loudest from clipping.

    Each group has a heading, "" for none. Sounds of more than two channels are averaged.
    """
    peak = max(
        float(np.abs(_played(sound)).max(initial=0.0)) for _, sounds in groups for sound in sounds.values()
    )
    gain = np.float32(min(1.0, 1.0 / peak) if peak else 1.0)
    parts = []
    for title, sounds in groups:
        if title:
            parts.append(pages.heading(title))
        for label, sound in sounds.items():
            encoded = flac(gain * _played(sound), sample_rate_hz=sample_rate_hz)
            parts.append(pages.player(encoded, label=label))
    notes = [PLAYED_BY]
    if gain < 1:
        notes.append(f"All sounds are turned down by {-20 * np.log10(gain):.1f} dB, so that none is clipped.")
    if any(len(sound) > _MOST_CHANNELS for _, sounds in groups for sound in sounds.values()):
        notes.append("Sounds of more than two channels are averaged.")
    return [*parts, pages.paragraph(" ".join(notes), note=True)]


def _played(waveform: Float[np.ndarray, "channels samples"]) -> Float[np.ndarray, "played samples"]:
    return waveform if len(waveform) <= _MOST_CHANNELS else waveform.mean(axis=0, keepdims=True)


def largest_bytes(samples: int, channels: int, sounds: int) -> int:
    """Returns the most bytes of several players in a page: base64 of sounds that do not compress."""
    played = channels if channels <= _MOST_CHANNELS else 1
    # FLAC stores incompressible sound verbatim, with headers of a few per cent.
    return sounds * int(1.03 * 2 * samples * played * 4 / 3) + sounds * 16_384
