"""A clip of a dataset: what a source says about it, and what a record stores of it."""

import dataclasses
import hashlib
import io
from collections.abc import Sequence

import numpy as np
import soundfile
import tensorflow_datasets as tfds

from audiosep_jax.errors import DatasetError

SILENCE_PEAK = 1e-4
"""Clips whose peak is lower (80 dB below full scale, three steps of 16 bit) count as silent."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ClipRow:
    """One line of a source's metadata.

    Attributes:
      file: path relative to the source folder; also the clip's identity.
      captions: sentences that describe the clip; none for a clip that nobody has described.
      label: class name, or "" when the source has none.
      source: identity of the original recording; clips that were cut from one recording share it.
      split: the tfds split that the clip goes to.
      frames: images of the clip's video, as `data_pipelines.prepare.frames.read_frames` takes them.
      labels: every class name of a clip that has several, `label` among them; none where `label` says all.
    """

    file: str
    captions: tuple[str, ...]
    label: str = ""
    source: str = ""
    split: str = "train"
    frames: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Example:
    """What a record stores; `features` describes the same to tfds.

    Attributes:
      active: int64 `[2]`, first active sample and the one after the last.
      audio: uint8 `[bytes]`, a whole FLAC file.
      captions: sentences that describe the clip.
      frames: images of the clip's video, each a whole JPEG, PNG or other image file.
      id: path of the file in its source.
      label: class name or "".
      labels: every class name of a clip that has several.
      samples: length of the sound.
      source: identity of the original recording.
    """

    active: np.ndarray
    audio: np.ndarray
    captions: tuple[str, ...]
    frames: tuple[bytes, ...]
    id: str
    label: str
    labels: tuple[str, ...]
    samples: int
    source: str


def features(*, frames: bool = False, labels: bool = False) -> tfds.features.FeaturesDict:
    """Returns the features of an `Example`; none of them needs TensorFlow.

    Args:
      frames: whether the dataset has images. Without, records are what they were before there were any.
      labels: whether a clip of the dataset has several class names; otherwise as above.
    """
    texts = tfds.features.Tensor(shape=(None,), dtype=np.str_)  # bytes, in truth: tfds changes none of them
    return tfds.features.FeaturesDict(
        {
            "active": tfds.features.Tensor(shape=(2,), dtype=np.int64),
            "audio": tfds.features.Tensor(shape=(None,), dtype=np.uint8, encoding="bytes"),
            "captions": texts,
            **({"frames": texts} if frames else {}),
            "id": tfds.features.Text(),
            "label": tfds.features.Text(),
            **({"labels": texts} if labels else {}),
            "samples": tfds.features.Scalar(np.int64),
            "source": tfds.features.Text(),
        }
    )


def encode_flac(pcm: np.ndarray, *, sample_rate_hz: int) -> bytes:
    """Returns mono int16 samples `[samples]` as a FLAC file."""
    buffer = io.BytesIO()
    soundfile.write(buffer, pcm, sample_rate_hz, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def decode_flac(flac: bytes, out: np.ndarray, *, start: int) -> None:
    """Decodes `len(out)` samples of a mono FLAC file from `start` on, and nothing else, into `out`.

    Args:
      flac: the file's bytes.
      out: float32 `[samples]`, filled with values in [-1, 1).
      start: first sample that is wanted.

    Raises:
      AudioSepError: the bytes are damaged or hold fewer samples.
    """
    try:
        with soundfile.SoundFile(io.BytesIO(flac)) as file:
            if start:
                file.seek(start)
            found = len(file.read(out=out))
    except soundfile.LibsndfileError as error:
        raise DatasetError(f"The stored sound is damaged ({error}): prepare the dataset again.") from error
    if found < len(out):
        raise DatasetError(
            f"The stored sound ends after {start + found} samples where {start + len(out)} are needed: "
            "prepare the dataset again."
        )


def frames_digest(frames: Sequence[bytes]) -> str:
    """Returns what identifies these frames in this order, "" for none."""
    if not frames:
        return ""
    each = b"".join(hashlib.sha256(frame).digest() for frame in frames)
    return hashlib.sha256(each).hexdigest()[:32]
