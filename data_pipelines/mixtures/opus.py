"""Opus in Ogg: mono sound at a stated bitrate, by libsndfile."""

import io

import numpy as np
import soundfile
import soxr
from jaxtyping import Float32

from audiosep_jax.errors import DatasetError

LOWEST_KILOBITS, HIGHEST_KILOBITS = 6, 256
"""Per second and channel, as libsndfile has them."""

_RATES_HZ = (8000, 12_000, 16_000, 24_000, 48_000)


def encode_opus(sound: Float32[np.ndarray, " samples"], *, sample_rate_hz: int, kilobits: float) -> bytes:
    """Returns an Ogg file of about `kilobits` per second; Opus gives simple sounds fewer.

    Opus has five sample rates; the sound is stored at the next one above its own.
    """
    rate = next((rate for rate in _RATES_HZ if rate >= sample_rate_hz), _RATES_HZ[-1])
    # libsndfile has no bitrate: its compression level is a share of this range.
    level = 1 - (kilobits - LOWEST_KILOBITS) / (HIGHEST_KILOBITS - LOWEST_KILOBITS)
    buffer = io.BytesIO()
    with soundfile.SoundFile(
        buffer, "w", rate, 1, format="OGG", subtype="OPUS", compression_level=min(1.0, max(0.0, level))
    ) as file:
        file.write(soxr.resample(sound, sample_rate_hz, rate))
    return buffer.getvalue()


def decode_opus(opus: bytes, *, sample_rate_hz: int, samples: int) -> Float32[np.ndarray, " samples"]:
    """Returns `samples` samples of an Ogg file at a sample rate; what is missing is silence.

    Raises:
      DatasetError: the bytes are damaged.
    """
    try:
        sound, rate = soundfile.read(io.BytesIO(opus), dtype="float32")
    except soundfile.LibsndfileError as error:
        raise DatasetError(f"The packed sound is damaged ({error}): make the pack again.") from error
    sound = soxr.resample(sound, rate, sample_rate_hz)[:samples]
    return np.pad(sound, (0, samples - len(sound)))
