"""Extends estimates above a model's Nyquist frequency, as the highest part of the model's band is divided."""

import numpy as np
from jaxtyping import Float32

# Frames are this far apart, and twice as long.
_HOP_SECONDS = 0.008

# The gain is measured in this part of the model's band: lower down other sounds dominate, and the resampler
# removes what is close to the upper end.
_FROM, _TO = 0.6, 0.93


def delay_samples(sample_rate_hz: int) -> int:
    """Returns how many samples a `HighBand` holds back at most."""
    return 2 * _hop(sample_rate_hz) - 1


def _hop(sample_rate_hz: int) -> int:
    return max(1, round(_HOP_SECONDS * sample_rate_hz))


class HighBand:
    """Extends estimates beyond the model's band, block by block.

    Per channel and frame, the gain is the estimate's part of the mixture between 0.6 and 0.93 of the model's
    Nyquist frequency: `Re⟨e, x⟩ / ⟨x, x⟩`, clipped to 0…1 and interpolated between frames. The mixture minus
    its conversion to the model's rate, times the gain, is added to the estimate. The gain is linear in the
    estimate, so that parts that sum to the mixture still do. With `shared`, all channels have one gain.
    """

    def __init__(
        self, *, estimates: int, channels: int, sample_rate_hz: int, model_rate_hz: int, shared: bool
    ) -> None:
        self._hop = _hop(sample_rate_hz)
        self._window = np.hanning(2 * self._hop + 1)[:-1].astype(np.float32)
        edges = np.array([_FROM, _TO]) * (model_rate_hz / 2) * len(self._window) / sample_rate_hz
        self._bins = slice(round(edges[0]), max(round(edges[0]) + 1, round(edges[1])))
        self._shared = shared
        # The first frame is centred on the first sample. Rows: the estimates, the mixture below and above
        # the model's Nyquist frequency.
        self._waiting = np.zeros((estimates + 2, channels, self._hop), np.float32)
        self._gain = np.zeros((estimates, channels, 1), np.float32)
        self._skipped = self._hop  # samples before the first
        self._pushed = self._returned = 0

    def push(
        self,
        mixture: Float32[np.ndarray, "channels samples"],
        low: Float32[np.ndarray, "channels samples"],
        estimates: Float32[np.ndarray, "estimates channels samples"],
    ) -> Float32[np.ndarray, "estimates channels out"]:
        """Takes the next samples and returns the finished samples of the estimates.

        All have the mixture's rate; `low` is the mixture, converted to the model's rate and back.
        """
        self._pushed += mixture.shape[-1]
        return self._extend(np.concatenate([estimates, low[None], (mixture - low)[None]]))

    def flush(self) -> Float32[np.ndarray, "estimates channels out"]:
        """Returns the rest. Nothing can be pushed afterwards."""
        return self._extend(np.zeros((*self._waiting.shape[:2], 3 * self._hop), np.float32))

    def _extend(self, rows: np.ndarray) -> np.ndarray:
        self._waiting = np.concatenate([self._waiting, rows], axis=-1)
        frames = self._waiting.shape[-1] // self._hop - 1
        if frames < 1:
            return self._waiting[:-2, :, :0]
        gains = np.concatenate([self._gain, self._gains(frames)], axis=-1)
        self._gain = gains[..., -1:]
        # The gain is interpolated linearly between the centres of two frames.
        ramp = np.arange(self._hop, dtype=np.float32) / self._hop
        slopes = gains[..., :-1, None] + np.diff(gains)[..., None] * ramp
        done = self._waiting[..., : frames * self._hop]
        self._waiting = self._waiting[..., frames * self._hop :]
        finished = done[:-2] + slopes.reshape(*gains.shape[:2], frames * self._hop) * done[-1]
        return self._limited(finished)

    def _gains(self, frames: int) -> np.ndarray:
        views = np.lib.stride_tricks.sliding_window_view(self._waiting[:-1], len(self._window), axis=-1)
        spectra = np.fft.rfft(views[..., :: self._hop, :][..., :frames, :] * self._window)[..., self._bins]
        estimates, low = spectra[:-1], spectra[-1]
        held = (estimates * low.conj()).real.sum(axis=-1)
        power = np.square(np.abs(low)).sum(axis=-1)
        if self._shared:
            held, power = held.sum(axis=1, keepdims=True), power.sum(axis=0, keepdims=True)
        gains = np.clip(held / np.maximum(power, np.finfo(np.float32).tiny), 0, 1)
        return np.broadcast_to(gains, (*self._gain.shape[:2], frames)).astype(np.float32)

    def _limited(self, finished: np.ndarray) -> np.ndarray:
        skipped = min(self._skipped, finished.shape[-1])
        self._skipped -= skipped
        finished = finished[..., skipped:][..., : self._pushed - self._returned]
        self._returned += finished.shape[-1]
        return finished
