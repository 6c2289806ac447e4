"""Reads and writes whole sound files through libsndfile."""

import dataclasses
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
from jaxtyping import Float32, Num

from audiosep_jax.audio.containers import open_sound, truncated
from audiosep_jax.audio.reading import AudioReader
from audiosep_jax.audio.resample import resample
from audiosep_jax.audio.writing import AudioWriter
from audiosep_jax.errors import AudioFileError, WaveformError, printable

__all__ = ["AudioReader", "AudioWriter", "Recording", "decode_audio", "read_audio", "write_audio"]

_BLOCK = 1 << 16


@dataclasses.dataclass(frozen=True)
class Recording:
    """A sound in memory.

    Attributes:
      waveform: `[channels, samples]` float32, full scale is ±1.
      sample_rate_hz: samples per second.
    """

    waveform: Float32[np.ndarray, "channels samples"]
    sample_rate_hz: int


def read_audio(path: str | Path, *, sample_rate_hz: int | None = None, mono: bool = False) -> Recording:
    """Reads a whole sound file: WAV, FLAC, OGG, MP3, or another format that libsndfile decodes.

    Args:
      path: the file.
      sample_rate_hz: resample to this rate; None keeps the file's.
      mono: average the channels into one.

    Raises:
      AudioFileError: as `AudioReader` and its `blocks`.
      WaveformError: the sample rate is not a positive whole number.
    """
    with AudioReader(path) as reader:
        blocks = [block.mean(axis=0, keepdims=True) if mono else block for block in reader.blocks()]
        rate = reader.sample_rate_hz
    waveform = np.concatenate(blocks, axis=1)
    if sample_rate_hz is not None and sample_rate_hz != rate:
        waveform, rate = resample(waveform, from_hz=rate, to_hz=sample_rate_hz), sample_rate_hz
    return Recording(waveform, rate)


def decode_audio(
    data: bytes, *, start: int = 0, samples: int | None = None, name: str = "the encoded sound"
) -> Recording:
    """Decodes a crop of a sound file in memory; only the crop, if the format can seek.

    Args:
      data: the file's bytes.
      start: first sample of the crop, at the file's rate.
      samples: length of the crop; None reads to the end. At the end of the sound the crop is shorter.
      name: of the sound in errors.

    Raises:
      AudioFileError: the bytes are not sound, the crop holds no sample, or a sample is not finite.
    """
    with open_sound(io.BytesIO(data), name) as file:
        try:
            file.seek(min(start, int(file.frames)))
            blocks = list(_read(file, samples))
        except soundfile.LibsndfileError as error:
            raise truncated(name, error) from error
        rate = file.samplerate
    block = np.concatenate(blocks)
    if len(block) == 0:
        raise AudioFileError(f"{name} holds no samples from {start} on: choose an earlier start.")
    if not np.isfinite(block).all():
        raise AudioFileError(f"{name} holds NaN or infinite samples: write it again without them.")
    return Recording(np.ascontiguousarray(block.T), rate)


def write_audio(
    path: str | Path,
    waveform: Num[np.ndarray, "channels samples"] | Num[np.ndarray, " samples"],
    *,
    sample_rate_hz: int,
    subtype: str | None = None,
) -> None:
    """Writes a whole sound file, atomically.

    Args:
      path: output; its suffix chooses the format.
      waveform: `[channels, samples]` or `[samples]`, full scale ±1; formats that cannot hold louder samples
        clip them.
      sample_rate_hz: samples per second.
      subtype: see `AudioWriter`.

    Raises:
      AudioFileError: as `AudioWriter`.
      WaveformError: a waveform of another shape or type, or with NaN or infinite samples.
    """
    array = np.asarray(waveform)
    array = array[None] if array.ndim == 1 else array
    if array.ndim != 2 or array.shape[0] == 0:
        raise WaveformError(
            f"{printable(path)}: a waveform of shape {np.shape(waveform)} was given, but [samples] or "
            "[channels, samples] is needed."
        )
    with AudioWriter(
        path, sample_rate_hz=sample_rate_hz, channels=len(array), subtype=subtype, samples=array.shape[1]
    ) as writer:
        writer.write(array)


def _read(file: soundfile.SoundFile, samples: int | None) -> Iterator[np.ndarray]:
    # In blocks, so that a false header cannot reserve memory for samples that do not exist.
    missing = 1 << 62 if samples is None else samples
    while True:
        block = file.read(min(_BLOCK, missing), dtype="float32", always_2d=True)
        missing -= len(block)
        yield block
        if len(block) < _BLOCK:
            return
