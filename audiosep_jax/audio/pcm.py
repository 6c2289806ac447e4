"""PCM: steps of an encoding's bits, and samples as the bytes of pipes in six encodings."""

import dataclasses
import re
from typing import Literal

import numpy as np
from jaxtyping import Float32, Num

from audiosep_jax.errors import AudioFileError, WaveformError

# The names of ffmpeg.
Encoding = Literal["u8", "s16le", "s24le", "s32le", "f32le", "f64le"]

SIZES: dict[Encoding, int] = {"u8": 1, "s16le": 2, "s24le": 3, "s32le": 4, "f32le": 4, "f64le": 8}

# Float samples beyond this, 180 dB above full scale, are refused: their squares would overflow.
LOUDEST = 1e9


def pcm_bits(subtype: str) -> int | None:
    """Bits per sample of a linear encoding such as "PCM_24"; None for floating point and lossy encodings.

    Examples:
      >>> pcm_bits("PCM_24"), pcm_bits("FLOAT")
      (24, None)
    """
    match = re.fullmatch(r"(?:PCM_[SU]?|ALAC_|DWVW_)(\d+)", subtype)
    return int(match[1]) if match else None


def quantise(waveform: Num[np.ndarray, "*shape"], bits: int) -> Num[np.ndarray, "*shape"]:
    """Returns the nearest PCM steps of a waveform in ±1, clipped to `bits` bits, as int32.

    Examples:
      >>> quantise(np.array([-1.0, 0.5, 1.0]), 16).tolist()
      [-32768, 16384, 32767]
    """
    scale = 2 ** (bits - 1)
    return np.clip(np.rint(waveform.astype(np.float64) * scale), -scale, scale - 1).astype(np.int32)


# Beyond these limits a header is damaged.
_LOWEST_RATE_HZ, _HIGHEST_RATE_HZ, _MOST_CHANNELS = 1_000, 1_536_000, 256


@dataclasses.dataclass(frozen=True, kw_only=True)
class SampleFormat:
    """Rate, channels and encoding of raw samples, whose channels are interleaved.

    Raises:
      WaveformError: a rate or number of channels that no sound has.
    """

    sample_rate_hz: int
    channels: int
    encoding: Encoding

    def __post_init__(self) -> None:
        if not _LOWEST_RATE_HZ <= self.sample_rate_hz <= _HIGHEST_RATE_HZ:
            raise WaveformError(
                f"A sample rate of {self.sample_rate_hz} Hz was given: one between {_LOWEST_RATE_HZ} and "
                f"{_HIGHEST_RATE_HZ} Hz is needed."
            )
        if not 1 <= self.channels <= _MOST_CHANNELS:
            raise WaveformError(f"{self.channels} channels were given: 1 to {_MOST_CHANNELS} are possible.")

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of all channels."""
        return self.channels * SIZES[self.encoding]

    @property
    def bits(self) -> int:
        """Bits of one sample."""
        return 8 * SIZES[self.encoding]

    @property
    def floating(self) -> bool:
        """Whether samples are floating-point numbers."""
        return self.encoding.startswith("f")

    def decode(self, data: bytes) -> Float32[np.ndarray, "channels samples"]:
        """Returns whole frames as a waveform, full scale ±1.

        Raises:
          AudioFileError: a sample is NaN, infinite or far too loud.
        """
        if self.encoding == "u8":
            waveform = (np.frombuffer(data, np.uint8).astype(np.float32) - 128) / 128
        elif self.encoding == "s24le":
            # The three bytes become the highest of four.
            wide = np.zeros((len(data) // 3, 4), np.uint8)
            wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
            waveform = wide.reshape(-1).view("<i4").astype(np.float32) / 2**31
        elif self.floating:
            with np.errstate(over="ignore", invalid="ignore"):
                waveform = np.frombuffer(data, f"<f{self.bits // 8}").astype(np.float32)
            if not np.isfinite(waveform).all():
                raise AudioFileError("The input holds NaN or infinite samples: send it without them.")
            if len(waveform) and np.abs(waveform).max() > LOUDEST:
                raise AudioFileError(
                    "The input holds samples far beyond full scale, which is 1: scale it down."
                )
        else:
            waveform = np.frombuffer(data, f"<i{self.bits // 8}").astype(np.float32) / 2 ** (self.bits - 1)
        return np.ascontiguousarray(waveform.reshape(-1, self.channels).T)

    def encode(self, waveform: Float32[np.ndarray, "channels samples"]) -> bytes:
        """Returns a waveform as frames; linear encodings round to the nearest step and clip."""
        samples = waveform.T.ravel()
        if self.floating:
            return samples.astype(f"<f{self.bits // 8}").tobytes()
        steps = quantise(samples, self.bits)
        if self.encoding == "u8":
            return (steps + 128).astype(np.uint8).tobytes()
        if self.encoding == "s24le":
            return steps.astype("<i4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
        return steps.astype(f"<i{self.bits // 8}").tobytes()
