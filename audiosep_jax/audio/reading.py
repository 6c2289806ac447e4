"""Reads sound files through libsndfile, block by block or whole, at their rate or at another."""

import dataclasses
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import numpy as np
import soundfile
from jaxtyping import Float32, Shaped

from audiosep_jax.audio.containers import (
    log_promises_more,
    missing_samples_allowed,
    ogg_cut_off,
    open_sound,
    truncated,
)
from audiosep_jax.audio.pcm import LOUDEST
from audiosep_jax.audio.resample import resample
from audiosep_jax.errors import AudioFileError, AudioSepError, printable

_UNKNOWN_LENGTH = 1 << 62  # libsndfile reports its largest integer for a stream of unknown length
_BLOCK = 1 << 16


class AudioReader:
    """Reads a sound file block by block; a false header cannot make it use more memory.

    Attributes:
      path: the file.
      channels, sample_rate_hz: as the header says.
      samples: per channel, as the header says; 0 if it does not say.
      format, subtype: libsndfile's names, for example "WAV" and "PCM_16".

    Raises:
      AudioFileError: the file is missing, a folder, empty, not sound, without samples or cut off.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._name = printable(self.path)
        try:
            if self.path.exists() and not self.path.is_file():
                kind = "a folder" if self.path.is_dir() else "not a regular file"
                raise AudioFileError(f"{self._name} is {kind}: give a sound file.")
            with self.path.open("rb") as file:
                cut_off = ogg_cut_off(file)
                empty = file.seek(0, os.SEEK_END) == 0
        except FileNotFoundError:
            raise AudioFileError(f"{self._name} does not exist: check the path.") from None
        except (OSError, ValueError) as error:
            reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else error
            raise AudioFileError(f"{self._name} cannot be read: {reason}.") from error
        if empty:
            raise AudioFileError(f"{self._name} is empty (0 bytes): give a file that holds sound.")
        self._file = open_sound(str(self.path), self._name)
        self.channels: int = self._file.channels
        self.sample_rate_hz: int = self._file.samplerate
        self.format: str = self._file.format
        self.subtype: str = self._file.subtype
        self.samples = 0 if self._file.frames >= _UNKNOWN_LENGTH else int(self._file.frames)
        try:
            if cut_off or log_promises_more(self._file.extra_info):
                raise truncated(self._name)
            if self._file.frames == 0:
                raise AudioFileError(f"{self._name} holds no samples: give a file that holds sound.")
        except AudioSepError:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def blocks(
        self, size: int = 1 << 16, *, dtype: type[np.float32] | type[np.int32] = np.float32
    ) -> Iterator[Shaped[np.ndarray, "channels size"]]:
        """Yields the file from its beginning, `size` samples at a time; the last block may be shorter.

        Args:
          size: samples per channel in a block.
          dtype: float32 in ±1, or int32 whose highest bit is the sign, which holds any PCM exactly.

        Raises:
          AudioFileError: a sample is NaN, infinite or far too loud, or the file is shorter than its header
            says.
        """
        try:
            self._file.seek(0)
            name = "int32" if dtype is np.int32 else "float32"
            decoded = 0
            while len(block := self._file.read(size, dtype=name, always_2d=True)):
                decoded += len(block)
                if not np.isfinite(block).all():
                    raise AudioFileError(
                        f"{self._name} holds NaN or infinite samples near sample {decoded - len(block)}: "
                        "write it again without them."
                    )
                if dtype is np.float32 and (loudest := np.abs(block).max()) > LOUDEST:
                    raise AudioFileError(
                        f"{self._name} holds samples of {loudest:.2g}, where full scale is 1: scale it down."
                    )
                yield np.ascontiguousarray(block.T)
        except soundfile.LibsndfileError as error:
            raise truncated(self._name, error) from error
        if decoded == 0:
            raise AudioFileError(f"{self._name} holds no samples: give a file that holds sound.")
        if self.samples - decoded > missing_samples_allowed(self.format, self.path):
            raise truncated(self._name, f"{decoded} of {self.samples} samples")


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


def _read(file: soundfile.SoundFile, samples: int | None) -> Iterator[np.ndarray]:
    # In blocks, so that a false header cannot reserve memory for samples that do not exist.
    missing = 1 << 62 if samples is None else samples
    while True:
        block = file.read(min(_BLOCK, missing), dtype="float32", always_2d=True)
        missing -= len(block)
        yield block
        if len(block) < _BLOCK:
            return
