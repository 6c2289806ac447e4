"""Reading and checking an upload before it is separated, and a form of it that browsers play."""

import dataclasses
import math
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from audiosep_jax.audio.pcm import pcm_bits
from audiosep_jax.audio.reading import AudioReader
from audiosep_jax.audio.resample import StreamResampler
from audiosep_jax.audio.writing import AudioWriter
from audiosep_jax.errors import AudioSepError, PageError
from audiosep_jax.reports.players import check_rate
from audiosep_jax.web.limits import Limits

# Spectrograms show the audible band.
_DRAWN_HZ = 48_000
# For headers and the picture of the spectrograms.
_BESIDE_SAMPLES_BYTES = 500_000
# Containers that browsers play.
_PLAYED = {"WAV": ".wav", "WAVEX": ".wav", "FLAC": ".flac", "OGG": ".ogg", "MP3": ".mp3"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sound:
    """Facts about a sound file."""

    seconds: float
    channels: int
    sample_rate_hz: int
    drawn: Float32[np.ndarray, " samples"]  # the mean of the channels, for the spectrogram
    drawn_hz: int  # the rate of `drawn`: the file's, at most 48 kHz
    result_bytes: int  # the most that the result of the separation takes on disk


def read_sound(path: Path, limits: Limits) -> Sound:
    """Reads a sound file to its end, block by block; the header is checked before decoding.

    Raises:
      AudioFileError: the file is no sound, damaged, or holds NaN or infinity.
      AudioSepError: it is longer than the limit, or browsers do not play its rate.
    """
    with AudioReader(path) as reader:
        rate, channels = reader.sample_rate_hz, reader.channels
        check_rate(rate, name=str(path))
        if (seconds := reader.samples / rate) > limits.seconds_for(channels):
            raise _too_long(f"{path} is {_length(seconds)} long", channels, limits)
        drawn_hz = min(rate, _DRAWN_HZ)
        down = StreamResampler(channels=1, from_hz=rate, to_hz=drawn_hz)
        # Estimate and residual, and the mixture if browsers cannot play the file itself.
        sample_bytes = 2 * math.ceil((pcm_bits(reader.subtype) or 32) / 8)
        sample_bytes += 0 if reader.format in _PLAYED else 4
        samples, drawn = 0, []
        for block in reader.blocks():
            samples += block.shape[1]
            if samples > limits.seconds_for(channels) * rate:  # the header of a stream may not state a length
                raise _too_long(f"{path} is too long", channels, limits)
            drawn.append(down.push(block.mean(axis=0, keepdims=True)))
    return Sound(
        seconds=samples / rate,
        channels=channels,
        sample_rate_hz=rate,
        drawn=np.concatenate([*drawn, down.flush()], axis=1)[0],
        drawn_hz=drawn_hz,
        result_bytes=samples * channels * sample_bytes + _BESIDE_SAMPLES_BYTES,
    )


def playable(path: Path, folder: Path) -> Path:
    """Puts a sound that browsers play into a folder: the file itself, or a WAV with the same samples.

    The file itself becomes a hard link, so it survives the deletion of the upload.
    """
    with AudioReader(path) as reader:
        suffix = _PLAYED.get(reader.format)
        if suffix is not None:
            place = folder / f"mixture{suffix}"
            place.hardlink_to(path)
            return place
        place = folder / "mixture.wav"
        integer = pcm_bits(reader.subtype) is not None
        with AudioWriter(
            place,
            sample_rate_hz=reader.sample_rate_hz,
            channels=reader.channels,
            subtype=("PCM_32" if reader.subtype == "PCM_32" else "PCM_24") if integer else "FLOAT",
        ) as writer:
            for block in reader.blocks(dtype=np.int32 if integer else np.float32):
                writer.write(block)
    return place


def _too_long(problem: str, channels: int, limits: Limits) -> AudioSepError:
    kind = f" with {channels} channels" if channels > 2 else ""
    return PageError(
        f"{problem}: the page takes up to {_length(limits.seconds_for(channels))} of sound{kind}. "
        "The command audiosep separate has no such limit."
    )


def _length(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
