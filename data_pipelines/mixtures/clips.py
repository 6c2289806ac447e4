"""A clip of a dataset: the line of its source's table, and the content of its record."""

import dataclasses
import hashlib
import io
from collections.abc import Sequence

import numpy as np
import soundfile
import tensorflow_datasets as tfds

from audiosep_jax.errors import DatasetError

SILENCE_PEAK = 1e-4
"""A clip with a lower peak (80 dB below full scale, three steps of 16 bit) counts as silent."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ClipRow:
    """A clip in the table of a source.

    Attributes:
      file: path relative to the source folder; also the clip's identity.
      captions: sentences that describe the clip; may be empty.
      label: class name, or "" if the source has none.
      source: identity of the original recording; clips that were cut from one recording share it.
      split: the tfds split of the clip.
      frames: images of the clip's video, as `data_pipelines.prepare.frames.read_frames` takes them.
      labels: all class names, including `label`, of a clip that has several; otherwise empty.
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
    """The content of a record; `features` describes it to tfds.

    Attributes:
      active: int64 `[2]`, first active sample, and the one after the last active sample.
      audio: uint8 `[bytes]`, a whole FLAC file.
      captions: sentences that describe the clip.
      frames: images of the clip's video, each a whole JPEG, PNG or other image file.
      id: path of the file in its source.
      label: class name or "".
      labels: all class names of a clip that has several.
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
    """Returns the features of an `Example`, none of which needs TensorFlow.

    Records have images and several class names only if some clip of the dataset has them.
    """
    texts = tfds.features.Tensor(shape=(None,), dtype=np.str_)  # also for bytes, which tfds does not change
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
    """Decodes the samples `start` to `start + len(out)` of mono FLAC into `out`, float32 in [-1, 1).

    Raises:
      DatasetError: the bytes are damaged or hold fewer samples.
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
    """Returns a digest of images in their order, "" for no images."""
    if not frames:
        return ""
    each = b"".join(hashlib.sha256(frame).digest() for frame in frames)
    return hashlib.sha256(each).hexdigest()[:32]
