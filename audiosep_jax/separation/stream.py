"""Estimates of a mixture that arrives in blocks: resample, cut into windows, resample back, extend."""

import contextlib
import dataclasses
import functools
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32

from audiosep_jax.audio.high_band import HighBand
from audiosep_jax.audio.levels import LevelMeter, gain_to
from audiosep_jax.audio.resample import StreamResampler
from audiosep_jax.audio.windows import OverlapAdd, Process, WindowPlan
from audiosep_jax.config import ModelConfig
from audiosep_jax.separation import window_plans
from audiosep_jax.separation.presence import Meter

# A stream of unknown length follows the level of so much sound: it rises at once, and falls when the loud
# part is that old.
_LEVEL_SECONDS = 30.0

_BLOCK = 1 << 18


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Work:
    """What is computed for every window.

    Attributes:
      process: `[batch_size, channels, window] -> [batch_size, outputs, channels, window]`.
      outputs: how many: the estimates and, if there are twice as many, the signals that presence is measured
        on.
      estimates: how many are returned.
      batch_size: rows in a call.
      in_flight: calls that are computed at once.
      shared: whether a row holds all channels, or one channel.
      extend: whether estimates are extended above the model's band, as in `high_band`.
      working_level_db: level that windows are brought to, in dBFS; None leaves them as they are.
    """

    process: Process
    outputs: int
    estimates: int
    batch_size: int = 1
    in_flight: int = 1
    shared: bool = False
    extend: bool = False
    working_level_db: float | None = None


class EstimateStream:
    """Turns the blocks of a mixture into the blocks of its estimates, at the mixture's rate.

    What `push` and `flush` return, joined, has the length of the mixture. The plan and the lead are in
    samples at the model's rate. The lead is silence before the mixture, shorter than one window; it is
    neither measured nor returned. `level_db` is the level of the whole mixture. Where that is not known, the
    level of every window is that of the 30 s before its end.
    """

    def __init__(
        self,
        work: Work,
        *,
        plan: WindowPlan,
        config: ModelConfig,
        channels: int,
        sample_rate_hz: int,
        lead: int = 0,
        level_db: float | None = None,
    ) -> None:
        model_rate_hz = config.sample_rate_hz
        self._work, self._plan = work, plan
        self._grid = 1 if plan.short_last else window_plans.grid(config)  # the reference's windows have none
        self._lead = self._lead_missing = lead
        self._channels = channels
        self._rows, self._row_channels = (1, channels) if work.shared else (channels, 1)
        self._down = StreamResampler(channels=channels, from_hz=sample_rate_hz, to_hz=model_rate_hz)
        self._level_db, self._heard, gain = level_db, None, None
        if work.working_level_db is not None:
            gain = functools.partial(self._gain, work.working_level_db)
            if level_db is None:
                self._heard = LevelMeter(channels=channels, sample_rate_hz=model_rate_hz)
        self._windows = OverlapAdd(
            work.process,
            plan=plan,
            channels=self._rows,
            batch_size=work.batch_size,
            inputs=(self._row_channels,),
            outputs=(work.outputs, self._row_channels),
            in_flight=work.in_flight,
            gain=gain,
        )
        self._windows.push(np.zeros((self._rows, self._row_channels, lead), np.float32))
        self._high = None
        if work.extend and sample_rate_hz > model_rate_hz:
            self._high = HighBand(
                estimates=work.estimates,
                channels=channels,
                sample_rate_hz=sample_rate_hz,
                model_rate_hz=model_rate_hz,
                shared=work.shared,
            )
        returned = work.estimates + (self._high is not None)
        self._up = StreamResampler(channels=returned * channels, from_hz=model_rate_hz, to_hz=sample_rate_hz)
        self._meter = Meter(queries=work.estimates, sample_rate_hz=model_rate_hz)
        self._mixture = _Backlog(channels)  # pushed and not returned
        self._low = _Backlog(channels)  # at the model's rate: pushed and not estimated
        self._missing = 0  # samples pushed and not returned
        self._last, self._length = np.zeros((channels, 0), np.float32), 0  # at the model's rate
        self._measured = 0

    def push(
        self, mixture: Float[np.ndarray, "channels samples"]
    ) -> Float32[np.ndarray, "estimates channels out"]:
        """Takes the next samples and returns the finished samples of the estimates, possibly none."""
        self._missing += mixture.shape[1]
        if self._high is not None:
            self._mixture.push(mixture)
        return self._return(self._extended(self._up.push(self._estimated(self._down.push(mixture)))))

    def flush(self) -> Float32[np.ndarray, "estimates channels out"]:
        """Returns the rest. Nothing can be pushed afterwards."""
        rest = [self._estimated(self._down.flush())]
        padding = self._padding()
        self._low.push(padding)
        rest += [self._arranged(self._windows.push(self._grouped(padding)))]
        rest += [self._arranged(self._windows.flush())]
        last = [self._up.push(np.concatenate(rest, axis=1)), self._up.flush()]
        finished = self._extended(np.concatenate(last, axis=1))
        if self._high is not None:
            finished = np.concatenate([finished, self._high.flush()], axis=-1)
        return self._return(finished)

    def close(self) -> None:
        """Ends without the samples that are not finished. Nothing can be pushed afterwards."""
        self._windows.close()

    def levels_db(self) -> Sequence[float]:
        """Returns how loud the estimates are, after `flush`; see `presence.Meter`."""
        return self._meter.levels_db()

    def _estimated(self, waveform: np.ndarray) -> np.ndarray:
        self._length += waveform.shape[1]
        self._last = np.concatenate([self._last, waveform], axis=1)[:, -self._grid - 1 :]
        self._low.push(waveform)
        if self._heard is not None:
            self._heard.push(waveform)
        finished = self._arranged(self._windows.push(self._grouped(waveform)))
        if self._heard is not None:
            self._heard.forget(seconds=_LEVEL_SECONDS)
        return finished

    def _gain(self, working_level_db: float, end: int) -> np.float32:
        """Returns the gain of the window that ends at a sample of lead and mixture."""
        level_db = self._level_db
        if self._heard is not None:
            level_db = self._heard.level_before_db(end - self._lead, seconds=_LEVEL_SECONDS)
        return gain_to(working_level_db, -math.inf if level_db is None else level_db)

    def _grouped(self, waveform: np.ndarray) -> np.ndarray:
        return waveform.reshape(self._rows, self._row_channels, waveform.shape[1])

    def _arranged(self, block: np.ndarray) -> np.ndarray:
        """Measures `[rows, outputs, channels, samples]` and returns the rows to be resampled."""
        behind = min(self._lead_missing, block.shape[-1])
        self._lead_missing -= behind
        block = block[..., behind:]
        outputs, samples = block.shape[1], block.shape[-1]
        by_output = np.moveaxis(block, 1, 0).reshape(outputs, self._channels, samples)
        low = self._low.take(samples)
        real = min(samples, self._length - self._measured)  # the mirrored samples after the end do not count
        self._measured += real
        self._meter.push(low[:, :real], by_output[-self._work.estimates :, :, :real])
        rows = by_output[: self._work.estimates].reshape(self._work.estimates * self._channels, samples)
        return rows if self._high is None else np.concatenate([rows, low])

    def _padding(self) -> np.ndarray:
        # The last window ends with the mixture. Mirrored sound is added, so that it begins on the grid: off
        # it the model pools other frames together, and its estimate differs by some -15 dB from that of the
        # neighbouring windows.
        beyond = self._lead + self._length - self._plan.window
        size = -beyond % self._grid if beyond > 0 else 0
        return np.pad(self._last, ((0, 0), (0, size)), mode="reflect")[:, self._last.shape[1] :]

    def _extended(self, rows: np.ndarray) -> np.ndarray:
        blocks = rows.reshape(len(rows) // self._channels, self._channels, rows.shape[1])
        if self._high is None:
            return blocks
        mixture = self._mixture.take(rows.shape[1])
        blocks = blocks[..., : mixture.shape[1]]
        return self._high.push(mixture, blocks[-1], blocks[:-1])

    def _return(self, estimates: np.ndarray) -> np.ndarray:
        # Resampling down and up rounds the length up twice.
        estimates = estimates[..., : self._missing]
        self._missing -= estimates.shape[-1]
        return estimates


def estimates_of(
    mixture: Float32[np.ndarray, "channels samples"], stream: EstimateStream
) -> Float32[np.ndarray, "estimates channels samples"]:
    """Returns the estimates of a whole mixture, and closes the stream."""
    # The memory between the mixture and the estimates is bounded by blocks, as it is for files.
    with contextlib.closing(stream):
        starts = range(0, mixture.shape[1], _BLOCK)
        blocks = [stream.push(mixture[:, start : start + _BLOCK]) for start in starts]
        return np.concatenate([*blocks, stream.flush()], axis=-1)


class _Backlog:
    """Samples that wait for their estimates."""

    def __init__(self, channels: int) -> None:
        self._waiting = np.zeros((channels, 0), np.float32)

    def push(self, block: np.ndarray) -> None:
        self._waiting = np.concatenate([self._waiting, block.astype(np.float32, copy=False)], axis=1)

    def take(self, samples: int) -> np.ndarray:
        """Returns the next samples, fewer if there are no more."""
        taken, self._waiting = self._waiting[:, :samples], self._waiting[:, samples:]
        return taken
