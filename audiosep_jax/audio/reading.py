"""Reads a sound file block by block."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import numpy as np
import soundfile
from jaxtyping import Shaped

from audiosep_jax.audio.containers import (
    LOUDEST,
    log_promises_more,
    missing_samples_allowed,
    ogg_cut_off,
    open_sound,
    truncated,
)
from audiosep_jax.errors import AudioFileError, AudioSepError, printable

_UNKNOWN_LENGTH = 1 << 62  # libsndfile reports its largest integer for a stream of unknown length


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
