"""A clip of a dataset: what a source says about it, what a record stores of it, and how it is read."""

import dataclasses
import io
from pathlib import Path

import numpy as np
import soundfile
import soxr
import tensorflow_datasets as tfds

from audiosep_jax.errors import AudioSepError

SILENCE_PEAK = 1e-4
"""Clips whose peak is lower (−80 dB re full scale, three steps of 16 bit) count as silent."""

ACTIVE_DB = -60.0
"""Samples louder than this, relative to the clip's peak, are active."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipRow:
    """One line of a source's metadata.

    Attributes:
      file: path relative to the source folder; also the clip's identity.
      captions: sentences that describe the clip, at least one.
      label: class name, or "" when the source has none.
      source: identity of the original recording; clips that were cut from one recording share it.
      split: the tfds split that the clip goes to.
    """

    file: str
    captions: tuple[str, ...]
    label: str = ""
    source: str = ""
    split: str = "train"


def features() -> tfds.features.FeaturesDict:
    """Returns what a record holds; no feature here needs TensorFlow.

    `audio` is a whole FLAC file as bytes, `samples` its length, `active` the first active sample and the one after
    the last.
    """
    return tfds.features.FeaturesDict(
        {
            "active": tfds.features.Tensor(shape=(2,), dtype=np.int64),
            "audio": tfds.features.Tensor(shape=(None,), dtype=np.uint8, encoding="bytes"),
            "captions": tfds.features.Tensor(shape=(None,), dtype=np.str_),
            "id": tfds.features.Text(),
            "label": tfds.features.Text(),
            "samples": tfds.features.Scalar(np.int64),
            "source": tfds.features.Text(),
        }
    )


def encode_clip(root: Path, row: ClipRow, *, sample_rate_hz: int) -> dict[str, object]:
    """Reads one sound file and returns the example that `features` describes.

    The sound becomes mono at `sample_rate_hz` in 16 bit. A clip whose peak exceeds full scale after resampling is
    scaled down to it, so nothing is clipped.

    Raises:
      AudioSepError: the file is missing, not audio, damaged, not finite or silent.
    """
    waveform = _read(root / row.file, sample_rate_hz)
    peak = float(np.max(np.abs(waveform)))
    if peak < SILENCE_PEAK:
        raise AudioSepError(f"{root / row.file} is silent: its peak is {peak:.1e} of full scale.")
    pcm = np.rint(waveform * (32_767 / max(1.0, peak))).astype(np.int16)
    loud = np.flatnonzero(np.abs(waveform) > peak * 10 ** (ACTIVE_DB / 20))
    return {
        "active": np.array([loud[0], loud[-1] + 1], np.int64),
        "audio": np.frombuffer(encode_flac(pcm, sample_rate_hz=sample_rate_hz), np.uint8),
        "captions": list(row.captions),
        "id": row.file,
        "label": row.label,
        "samples": len(pcm),
        "source": row.source or row.file,
    }


def encode_flac(pcm: np.ndarray, *, sample_rate_hz: int) -> bytes:
    """Returns mono int16 samples `[samples]` as a FLAC file."""
    buffer = io.BytesIO()
    soundfile.write(buffer, pcm, sample_rate_hz, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def decode_flac(flac: bytes, *, start: int, stop: int) -> np.ndarray:
    """Decodes samples `start` to `stop` of a FLAC file and nothing else; float32 `[stop - start]` in [-1, 1)."""
    with soundfile.SoundFile(io.BytesIO(flac)) as file:
        if start:
            file.seek(start)
        return file.read(stop - start, dtype="float32")


def _read(path: Path, sample_rate_hz: int) -> np.ndarray:
    try:
        waveform, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (OSError, soundfile.SoundFileError) as error:
        raise AudioSepError(f"{path} cannot be read: {error}") from error
    return soxr.resample(waveform.mean(axis=1), rate, sample_rate_hz)
