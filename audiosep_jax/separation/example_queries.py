"""Conditions of examples: a recording of a similar sound, or pictures of its source."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
from jaxtyping import Float32

from audiosep_jax.audio.reading import AudioReader
from audiosep_jax.encoders.base import AudioQueryEncoder, ImageQueryEncoder, QueryEncoder, mean_condition
from audiosep_jax.errors import QueryError, printable
from audiosep_jax.separation.checks import checked_rate, checked_waveform

AudioExample = str | Path | tuple[np.ndarray, int]
ImageExample = str | Path | np.ndarray

# Encoders take the beginning of a longer sound.
EXAMPLE_SECONDS = 10.0

# Resampling looks ahead: with this margin the cut does not change the end of the ten seconds.
_MARGIN_SECONDS = 0.1

# One step of 16 bits: only dither stays below.
_SILENCE = 2.0**-15

# Images are read in batches: the frames of a long clip do not fit into memory.
_IMAGES_AT_ONCE = 16


def audio_condition(
    encoder: QueryEncoder, example: AudioExample, *, name: str
) -> Float32[np.ndarray, " size"]:
    """Returns the condition of an example of the sound. Channels are averaged; the first 10 s count.

    The example is a sound file, or a waveform (`[samples]` or `[channels, samples]`) and its rate in Hz. The
    name is that of the encoder in errors.

    Raises:
      QueryError: the encoder does not take sounds, or the example is silent.
      AudioSepError: the example cannot be read.
    """
    if not isinstance(encoder, AudioQueryEncoder):
        raise QueryError(
            f'The query encoder of this model, "{name}", takes no sounds: an audio query needs a model that '
            'was trained with the encoder "clap".'
        )
    if isinstance(example, str | Path):
        called = printable(Path(example))
        waveform, rate = _beginning(Path(example))
    else:
        called = "The waveform of the audio query"
        waveform, rate = _pair(example)
    if np.abs(waveform[: math.ceil(EXAMPLE_SECONDS * rate)]).max() <= _SILENCE:
        raise QueryError(
            f"{called} is silent in its first {EXAMPLE_SECONDS:g} s: give an example that begins with the "
            "sound."
        )
    return encoder.encode_audio([waveform], sample_rate_hz=rate)[0]


def images_condition(
    encoder: QueryEncoder, images: ImageExample | Sequence[ImageExample], *, name: str
) -> Float32[np.ndarray, " size"]:
    """Returns the condition of pictures of the sound's source: their mean, of unit length.

    The images are files or uint8 `[height, width, 3]`, for example the frames of one clip. The name is that
    of the encoder in errors.

    Raises:
      QueryError: the encoder does not take images, or there is no image.
      AudioSepError: an image cannot be read.
    """
    if not isinstance(encoder, ImageQueryEncoder):
        raise QueryError(
            f'The query encoder of this model, "{name}", takes no images: an image query needs a model that '
            'was trained with the encoder "clip".'
        )
    from audiosep_jax.encoders.images import read_image

    if isinstance(images, str | Path) or (isinstance(images, np.ndarray) and images.ndim == 3):
        images = [images]
    images = cast("Sequence[ImageExample]", images)
    if not len(images):
        raise QueryError("The image query holds no image: give at least one file or array.")
    rows = []
    for start in range(0, len(images), _IMAGES_AT_ONCE):
        part = images[start : start + _IMAGES_AT_ONCE]
        pictures = [read_image(each) if isinstance(each, str | Path) else np.asarray(each) for each in part]
        rows.append(encoder.encode_images(pictures))
    return mean_condition(np.concatenate(rows))


def _beginning(path: Path) -> tuple[Float32[np.ndarray, " samples"], int]:
    # Block by block: an example may be hours long, and ten seconds of it count.
    with AudioReader(path) as reader:
        rate, blocks, missing = reader.sample_rate_hz, [], _samples(reader.sample_rate_hz)
        for block in reader.blocks():
            blocks.append(block.mean(axis=0)[:missing])
            missing -= len(blocks[-1])
            if not missing:
                break
    return np.concatenate(blocks), rate


def _pair(example: object) -> tuple[Float32[np.ndarray, " samples"], int]:
    if not isinstance(example, tuple | list) or len(example) != 2:
        raise QueryError(
            "The audio query is neither a path nor a pair (waveform, sample_rate_hz): give one of them."
        )
    rate = checked_rate(example[1])
    waveform = checked_waveform(example[0])[..., : _samples(rate)]
    return (waveform if waveform.ndim == 1 else waveform.mean(axis=0)), rate


def _samples(rate: int) -> int:
    return math.ceil((EXAMPLE_SECONDS + _MARGIN_SECONDS) * rate)
