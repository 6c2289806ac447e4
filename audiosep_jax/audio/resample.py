"""Sample-rate conversion of waveforms and streams by soxr, with exact output lengths."""

import numpy as np
import soxr
from jaxtyping import Float

from audiosep_jax.errors import WaveformError


def resampled_length(samples: int, *, from_hz: int, to_hz: int) -> int:
    """Samples that `resample` returns: `ceil(samples · to_hz / from_hz)`.

    Examples:
      >>> resampled_length(44_101, from_hz=44_100, to_hz=32_000)
      32001
    """
    return -(-samples * to_hz // from_hz)


class StreamResampler:
    """Converts the sample rate of a waveform that arrives in blocks.

    The blocks that `push` and `flush` return, joined, are what `resample` returns for the joined input.

    Args:
      channels: how many.
      from_hz, to_hz: rates of the input and of the output.

    Raises:
      WaveformError: a rate is not a positive whole number.
    """

    def __init__(self, *, channels: int, from_hz: int, to_hz: int) -> None:
        for rate in (from_hz, to_hz):
            if rate != int(rate) or rate < 1:
                raise WaveformError(
                    f"A sample rate of {rate} Hz was given: it must be a positive whole number."
                )
        self._channels, self._from_hz, self._to_hz = channels, int(from_hz), int(to_hz)
        self._pushed = self._returned = 0
        self._stream = soxr.ResampleStream(from_hz, to_hz, channels, dtype="float32", quality="HQ")

    def push(self, block: Float[np.ndarray, "channels samples"]) -> Float[np.ndarray, "channels out"]:
        """Takes the next samples and returns the finished ones, float32, possibly none."""
        self._pushed += block.shape[1]
        if self._from_hz == self._to_hz:
            return block.astype(np.float32, copy=False)
        return self._limited(self._convert(block, last=False))

    def flush(self) -> Float[np.ndarray, "channels out"]:
        """Returns the rest, up to the exact length. Nothing can be pushed afterwards."""
        if self._from_hz == self._to_hz:
            return np.zeros((self._channels, 0), np.float32)
        # soxr rounds the output length of short inputs down; silence after the end makes it long enough.
        silence = np.zeros((self._channels, 1 + 2 * -(-self._from_hz // self._to_hz)), np.float32)
        return self._limited(self._convert(silence, last=True))

    def _convert(self, block: np.ndarray, *, last: bool) -> np.ndarray:
        interleaved = np.ascontiguousarray(block.T, np.float32)
        return self._stream.resample_chunk(interleaved, last=last).reshape(-1, self._channels).T

    def _limited(self, block: np.ndarray) -> np.ndarray:
        total = resampled_length(self._pushed, from_hz=self._from_hz, to_hz=self._to_hz)
        block = block[:, : total - self._returned]
        self._returned += block.shape[1]
        return block


def resample(
    waveform: Float[np.ndarray, "*batch samples"], *, from_hz: int, to_hz: int
) -> Float[np.ndarray, "*batch out"]:
    """Converts the sample rate of a waveform with a linear-phase filter (soxr, high quality).

    Args:
      waveform: any leading axes; the last one is time.
      from_hz: rate of the input.
      to_hz: rate of the output.

    Returns:
      float32, `ceil(samples · to_hz / from_hz)` samples long.

    Raises:
      WaveformError: a rate is not a positive whole number.
    """
    *batch, samples = waveform.shape
    rows = waveform.reshape(-1, samples)
    stream = StreamResampler(channels=len(rows), from_hz=from_hz, to_hz=to_hz)
    return np.concatenate([stream.push(rows), stream.flush()], axis=1).reshape(*batch, -1)
