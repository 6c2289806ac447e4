"""Turns a clip of a source into a record, or into the reason why it cannot be used."""

import dataclasses
from pathlib import Path

import numpy as np

from audiosep_jax.errors import AudioSepError, DatasetError
from data_pipelines.mixtures import clip_index, records
from data_pipelines.mixtures.clips import SILENCE_PEAK, ClipRow, Example, encode_flac
from data_pipelines.prepare import frames, video

ACTIVE_DB = -60.0
"""Samples louder than this, relative to the clip's peak, are active."""


@dataclasses.dataclass(frozen=True)
class MediaEncoder:
    """Reads the clips of one source: sound files, and the sound of videos.

    A dataset that stores another sound than that of its files has a subclass with another `waveform`.
    Encoders are sent to other processes. Their fields name everything that a record depends on besides its
    row and its files: a build resumes only with an equal encoder.
    """

    source: Path
    sample_rate_hz: int

    def waveform(self, row: ClipRow) -> np.ndarray:
        """Returns the mono sound of a clip, float32 `[samples]` at `sample_rate_hz`.

        Raises:
          AudioFileError: the file is missing, has no sound, is damaged or not finite.
          MissingPackageError: the file needs PyAV, which is not installed.
        """
        return video.read_sound(self.source / row.file, sample_rate_hz=self.sample_rate_hz)

    def __call__(self, row: ClipRow) -> Example:
        """Returns what a record stores of a clip.

        The sound is stored in 16 bit. A clip whose peak exceeds full scale after resampling is scaled down to
        full scale, so nothing is clipped. The samples of a mono 16-bit file of the dataset's rate stay equal.

        Raises:
          AudioSepError: as `waveform`; the clip is silent; or one of its frames is missing or no image.
        """
        waveform = self.waveform(row)
        peak = float(np.max(np.abs(waveform), initial=0.0))
        if peak < SILENCE_PEAK:
            raise DatasetError(f"{self.source / row.file} is silent: its peak is {peak:.1e} of full scale.")
        pcm = np.clip(np.rint(waveform * (32_768 / max(1.0, peak))), -32_768, 32_767).astype(np.int16)
        loud = np.flatnonzero(np.abs(waveform) > peak * 10 ** (ACTIVE_DB / 20))
        return Example(
            active=np.array([loud[0], loud[-1] + 1], np.int64),
            audio=np.frombuffer(encode_flac(pcm, sample_rate_hz=self.sample_rate_hz), np.uint8),
            captions=row.captions,
            frames=frames.read_frames(self.source, row.frames),
            id=row.file,
            label=row.label,
            labels=row.labels,
            samples=len(pcm),
            source=row.source or row.file,
        )

    def stamp(self, row: ClipRow) -> str:
        """Returns size and modification time of each file of a clip, "-" for an absent one."""
        paths = [self.source / row.file, *frames.find(self.source, row.frames)]
        return " ".join(map(_stamp, paths))


@dataclasses.dataclass(frozen=True)
class Recorded:
    """A clip that is ready to be written; its `MediaEncoder.stamp` was taken before the files were read."""

    record: bytes
    clip: clip_index.Clip
    stamp: str


@dataclasses.dataclass(frozen=True)
class Failure:
    """A clip that cannot be used; `absent` if there is no such file."""

    file: str
    reason: str
    absent: bool
    stamp: str


@dataclasses.dataclass(frozen=True)
class Recorder:
    """Turns rows into records with the fields that the dataset has; see `clips.features`.

    Several threads may call it, and it can be sent to other processes.
    """

    encoder: MediaEncoder
    frames: bool
    labels: bool

    def __call__(self, row: ClipRow) -> Recorded | Failure:
        """Reads one clip. Errors of its files are returned, not raised."""
        stamp = self.encoder.stamp(row)
        try:
            example = self.encoder(row)
        except AudioSepError as error:
            absent = not (self.encoder.source / row.file).exists()
            return Failure(row.file, str(error), absent, stamp)
        record = records.serialise(self.stored(example), frames=self.frames, labels=self.labels)
        return Recorded(record, clip_index.clip_of(example), stamp)

    def stored(self, example: Example) -> dict[str, object]:
        """Returns an example as the dictionary that tfds takes."""
        left_out = {"frames": not self.frames, "labels": not self.labels}
        return {name: value for name, value in vars(example).items() if not left_out.get(name)}


def _stamp(path: Path) -> str:
    try:
        stat = path.stat()
    except (OSError, ValueError):
        return "-"
    return f"{stat.st_size}:{stat.st_mtime_ns}"
