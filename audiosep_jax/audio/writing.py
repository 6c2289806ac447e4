"""Writes sound files, block by block or whole; a file appears under its name when it is complete."""

import errno
import os
import uuid
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import soundfile
from jaxtyping import Num

from audiosep_jax.audio.containers import SequentialFile, ends_well, format_for
from audiosep_jax.audio.pcm import pcm_bits, quantise
from audiosep_jax.errors import AudioFileError, WaveformError, printable

_BLOCK = 1 << 16
_WAV_LIMIT_BYTES = 2**32 - 4096  # a WAV header counts bytes in 32 bits


class AudioWriter:
    """Writes a sound file block by block; it appears under its name only when it is complete.

    The blocks go to a temporary file beside the output. When the `with` statement ends without an error, the
    file replaces the output; otherwise it is removed.

    Args:
      path: output; its suffix chooses the format (.wav, .flac, .ogg, .mp3, .aiff, .w64, .rf64).
      sample_rate_hz: samples per second.
      channels: how many.
      subtype: libsndfile's name of the encoding, for example "PCM_24"; None takes the format's default
        (16 bit for WAV and FLAC).
      samples: per channel, if known: then a WAV beyond 4 GB is written as RF64.

    Raises:
      AudioFileError: the folder or the file cannot be written, the format is unknown or cannot hold the
        sound, or the disk is full.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        sample_rate_hz: int,
        channels: int,
        subtype: str | None = None,
        samples: int | None = None,
    ) -> None:
        self.path = Path(path)
        self._name = printable(self.path)
        container, self.subtype = format_for(self.path, subtype)
        self._bytes_per_sample = channels * {"FLOAT": 4, "DOUBLE": 8}.get(
            self.subtype, (pcm_bits(self.subtype) or 32) // 8
        )
        self._limit = _WAV_LIMIT_BYTES if container == "WAV" else 1 << 62
        if samples is not None and container == "WAV" and samples * self._bytes_per_sample > self._limit:
            container, self._limit = "RF64", 1 << 62
        if os.path.isdir(self.path):
            raise AudioFileError(f"{self._name} is a folder: give the name of a file to write.")
        try:
            no_folder = not self.path.parent.is_dir()
        except PermissionError:  # for a folder above; creating the file below fails with the reason
            no_folder = False
        if no_folder:
            raise AudioFileError(f"{printable(self.path.parent)} is not a folder: create it first.")
        self._temporary = self.path.with_name(f".{uuid.uuid4().hex}.tmp")
        self._written = 0
        try:
            self._temporary.touch(exist_ok=False)  # unlike libsndfile, this says why it fails
        except OSError as error:
            raise self._failure(error) from error
        try:
            self._file = SequentialFile(
                self._temporary,
                "w",
                samplerate=sample_rate_hz,
                channels=channels,
                format=container,
                subtype=self.subtype,
            )
        except (soundfile.LibsndfileError, ValueError, OverflowError) as error:
            self._temporary.unlink(missing_ok=True)
            raise AudioFileError(
                f"{self._name} cannot be written as {container} with {channels} channel(s) at "
                f"{sample_rate_hz} Hz in {self.subtype}: choose another format or rate."
            ) from error

    def write(self, block: Num[np.ndarray, "channels samples"]) -> None:
        """Appends samples.

        Args:
          block: floating point in ±1 (rounded to the nearest step, clipped, never wrapped), or int32
            whose highest bit is the sign (written as it is).

        Raises:
          AudioFileError: the disk is full, or a WAV would exceed 4 GB.
          WaveformError: another shape or type, or a sample is NaN or infinite.
        """
        if block.ndim != 2 or block.shape[0] != self._file.channels:
            raise WaveformError(
                f"{self._name}: a block of shape {block.shape} was given, but "
                f"[{self._file.channels}, samples] is needed."
            )
        if block.dtype != np.int32 and not np.issubdtype(block.dtype, np.floating):
            raise WaveformError(
                f"{self._name}: samples of type {block.dtype} were given: give floating point or int32."
            )
        if not np.isfinite(block).all():
            raise WaveformError(f"{self._name} is not written: the samples contain NaN or infinity.")
        for start in range(0, block.shape[1], _BLOCK):
            part = block[:, start : start + _BLOCK]
            self._written += part.shape[1]
            if self._written * self._bytes_per_sample > self._limit:
                raise AudioFileError(
                    f"{self._name} would exceed the 4 GB that WAV can hold: write .flac or .w64."
                )
            try:
                self._file.write(np.ascontiguousarray(self._encode(part).T))
            except (soundfile.LibsndfileError, AssertionError, OSError) as error:
                raise self._failure(error) from error

    def _encode(self, part: Num[np.ndarray, "channels samples"]) -> Num[np.ndarray, "channels samples"]:
        if part.dtype == np.int32:
            return part
        bits = pcm_bits(self.subtype)
        if bits is not None:
            return quantise(part, bits) << (32 - bits)
        part = part.astype(np.float64 if part.dtype == np.float64 else np.float32, copy=False)
        return part if self.subtype in ("FLOAT", "DOUBLE") else np.clip(part, -1.0, 1.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._file.close()
            if kind is None:
                self._publish()
        finally:
            self._temporary.unlink(missing_ok=True)

    def _publish(self) -> None:
        if self._written == 0:
            raise AudioFileError(f"{self._name} is not written: there are no samples.")
        try:
            # libsndfile buffers, and does not report that the disk has no room for the last bytes.
            if not ends_well(self._temporary, self._written):
                raise self._failure(OSError(errno.ENOSPC, ""))
            with self._temporary.open("rb") as file:
                os.fsync(file.fileno())
            self._temporary.replace(self.path)
        except OSError as error:
            raise self._failure(error) from error

    def _failure(self, error: BaseException) -> AudioFileError:
        number = error.errno if isinstance(error, OSError) else None
        reason = os.strerror(number) if number else "the disk may be full"
        return AudioFileError(
            f"{self._name} cannot be written ({reason}): free space or choose another folder."
        )


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
