"""Separation of live sound: every block in gives a block of the same length out, with a fixed latency."""

import dataclasses
import functools
import math
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self, Unpack

import numpy as np
from jaxtyping import Float, Float32

from audiosep_jax.audio import high_band
from audiosep_jax.audio.resample import StreamResampler
from audiosep_jax.audio.windows import WindowPlan
from audiosep_jax.config import ModelConfig
from audiosep_jax.errors import ConfigError, SeparationError, WaveformError
from audiosep_jax.separation import example_queries, window_plans
from audiosep_jax.separation.api import AudioSep
from audiosep_jax.separation.checks import checked_rate, checked_waveform
from audiosep_jax.separation.options import OptionFields, Options
from audiosep_jax.separation.queries import Query, QueryLike, query_from
from audiosep_jax.separation.scale import LOUDEST_SOUND, warn_of_scale
from audiosep_jax.separation.stream import EstimateStream

_STRIDE_SECONDS, _LEFT_SECONDS, _AHEAD_SECONDS, _FADE_SECONDS = 0.5, 1.0, 0.45, 0.03


def live_plan(config: ModelConfig, *, stride_seconds: float = _STRIDE_SECONDS) -> WindowPlan:
    """Returns windows with as little context, and so as little latency, as the model can do with.

    A window gives one stride of the result, from at least 1 s of sound before it and at least 0.45 s after
    it. All three are multiples of the model's pooling grid: off the grid it pools other frames together.

    Args:
      config: of the model.
      stride_seconds: how often the model runs, rounded up to the grid. Longer strides compute less and have
        a longer latency.

    Raises:
      ConfigError: the stride is not positive, or longer than a minute.
    """
    if not 0 < stride_seconds <= 60:
        raise ConfigError(f"A stride of {stride_seconds} s was given: give more than 0 and at most 60 s.")
    step, rate = window_plans.grid(config), config.sample_rate_hz
    stride, left, ahead = (
        math.ceil(seconds * rate / step) * step for seconds in (stride_seconds, _LEFT_SECONDS, _AHEAD_SECONDS)
    )
    # The window ends one hop before the grid, so that its frames fill whole steps of the pooling.
    window = left + stride + ahead - config.hop_length
    fade = min(round(_FADE_SECONDS * rate), stride)
    return WindowPlan(window=window, context=window - left - stride - fade, fade=fade, left_context=left)


class SoundStream:
    """One sound of a mixture that arrives in blocks.

    What `push` and `flush` return, joined, has the mixture's length. With a lead as long as the windows' left
    context, the first samples wait no longer than all others; from the second window on the result is the
    same as without a lead.

    Args:
      model: the separator.
      query: the sound.
      plan: the windows.
      lead: samples of silence at the model's rate before the mixture, in the first window.
      channels, sample_rate_hz: of the mixture.
      options: of the separation.

    Attributes:
      peak: largest magnitude of the mixture until now.
    """

    def __init__(
        self,
        model: AudioSep,
        *,
        query: Query,
        plan: WindowPlan,
        lead: int,
        channels: int,
        sample_rate_hz: int,
        options: Options,
    ) -> None:
        work = model.work([query], options)
        rows, row_channels = (1, channels) if work.shared else (channels, 1)
        # Every window is computed as soon as it is complete, alone.
        work = dataclasses.replace(work, batch_size=min(work.batch_size, rows), in_flight=1)
        # This compiles the model before the first block comes.
        work.process(np.zeros((work.batch_size, row_channels, plan.window), np.float32))
        self._stream = EstimateStream(
            work,
            plan=plan,
            config=model.config.model,
            channels=channels,
            sample_rate_hz=sample_rate_hz,
            lead=lead,
        )
        self.peak = 0.0
        self._subtracts = not query.parts
        self._mixture = np.zeros((channels, 0), np.float32)  # pushed, and not yet returned

    def push(self, mixture: Float32[np.ndarray, "channels samples"]) -> Float32[np.ndarray, "channels out"]:
        """Takes the next samples and returns the finished ones, possibly none."""
        self.peak = max(self.peak, float(np.abs(mixture).max(initial=0)))
        if self._subtracts:
            self._mixture = np.concatenate([self._mixture, mixture], axis=1)
        return self._sound(self._stream.push(mixture)[0])

    def flush(self) -> Float32[np.ndarray, "channels out"]:
        """Returns the rest. Nothing can be pushed afterwards."""
        return self._sound(self._stream.flush()[0])

    def level_db(self) -> float:
        """Returns how loud the estimate is, after `flush`; for `presence.judged`."""
        return self._stream.levels_db()[0]

    def _sound(self, estimate: np.ndarray) -> np.ndarray:
        if not self._subtracts:
            return estimate
        samples = estimate.shape[1]
        sound = self._mixture[:, :samples] - estimate
        self._mixture = self._mixture[:, samples:]
        return sound


class LiveSeparator:
    """Separates live sound, such as that of a microphone.

    The model hears every window at its working level, as `Options.level` says, judged by the 30 s before the
    window's end; the result has the mixture's level.

    Every `push` returns a block of the length that it was given. Joined, the blocks are `latency_samples`
    zeros and then the sound: sample n is returned with sample n + latency_samples of the mixture. The sizes
    of the blocks change nothing. `flush` returns the last `latency_samples` samples.

    Args:
      model: as `audiosep_jax.load` returns it.
      sample_rate_hz: of the blocks; the model may have another rate.
      channels: of the blocks.
      query: a sentence or a `Query`, as in `AudioSep.separate`.
      query_audio, query_images, condition: instead of a query, as in `AudioSep.separate`.
      without: what must not be in the result; alone, the result is everything else.
      stride_seconds: how often the model runs; see `live_plan`.
      background: the model runs in its own thread while further blocks come, and `push` returns at once if
        the computer keeps up. Every sample waits one stride longer.
      **options: see `options.Options`, without `upstream_windows`.

    Attributes:
      plan: the windows, at the model's rate.
      latency_samples, latency_seconds: from a sample of the mixture to the same sample of the result.

    Raises:
      AudioSepError: a query, rate or option that cannot be used.

    Example:
      A loop from a microphone to a loudspeaker:

          with LiveSeparator(model, sample_rate_hz=48_000, query="speech") as live:
              for block in microphone:
                  loudspeaker.play(live.push(block))
    """

    def __init__(
        self,
        model: AudioSep,
        *,
        sample_rate_hz: int,
        channels: int = 1,
        query: QueryLike | None = None,
        query_audio: example_queries.AudioExample | None = None,
        query_images: Sequence[example_queries.ImageExample] | None = None,
        condition: Float[np.ndarray, " size"] | None = None,
        without: QueryLike | Sequence[QueryLike] = (),
        stride_seconds: float = _STRIDE_SECONDS,
        background: bool = False,
        **options: Unpack[OptionFields],
    ) -> None:
        if channels < 1:
            raise WaveformError(f"{channels} channels were given: at least 1 is needed.")
        chosen = Options(**options)
        if chosen.upstream_windows:
            raise ConfigError("upstream_windows are 5 s long: they are not for live sound.")
        self._channels, rate = channels, checked_rate(sample_rate_hz)
        self.plan = live_plan(model.config.model, stride_seconds=stride_seconds)
        self._stream = SoundStream(
            model,
            query=query_from(query, query_audio, query_images, condition, without),
            plan=self.plan,
            lead=self.plan.left,
            channels=channels,
            sample_rate_hz=rate,
            options=chosen,
        )
        self.latency_samples = latency_samples(
            self.plan, sample_rate_hz=rate, model_rate_hz=model.sample_rate_hz, background=background
        )
        if chosen.high_band == "extend" and rate > model.sample_rate_hz:
            self.latency_samples += high_band.delay_samples(rate)
        self.latency_seconds = self.latency_samples / rate
        self._finished = np.zeros((channels, self.latency_samples), np.float32)
        self._thread = ThreadPoolExecutor(1) if background else None
        self._computing: deque[Future[np.ndarray]] = deque()
        self._ended = self._warned = False

    def push(self, block: Float[np.ndarray, "*channels samples"]) -> Float32[np.ndarray, "*channels samples"]:
        """Takes the next block and returns one of the same shape, delayed by `latency_samples`.

        Args:
          block: `[channels, samples]`, or `[samples]` of one channel, of any length; floating point, full
            scale ±1.

        Raises:
          AudioSepError: a block of another shape or type, with NaN, or after `flush`.
        """
        if self._ended:
            raise SeparationError("This stream has ended: make another LiveSeparator.")
        if np.ndim(block) and np.shape(block)[-1] == 0:
            return np.asarray(block, np.float32)
        mixture = checked_waveform(block)
        rows = mixture[None] if mixture.ndim == 1 else mixture
        if not self._warned and (peak := float(np.abs(rows).max())) > LOUDEST_SOUND:
            self._warned = True
            warn_of_scale(peak)
        if len(rows) != self._channels:
            raise WaveformError(
                f"A block of shape {mixture.shape} was given: [{self._channels}, samples] is needed."
            )
        if self._thread is None:
            self._take(self._stream.push(rows))
        else:
            # The caller may write the next block into the same array.
            self._computing.append(self._thread.submit(self._stream.push, rows.copy()))
            while self._computing and (self._missing(rows) or self._computing[0].done()):
                self._take(self._computing.popleft().result())
        if self._missing(rows):
            raise RuntimeError("a live stream returned less than its latency promises")
        out, self._finished = np.split(self._finished, [rows.shape[1]], axis=1)
        return out.reshape(mixture.shape)

    def flush(self) -> Float32[np.ndarray, "channels samples"]:
        """Returns the last `latency_samples` samples, `[channels, latency_samples]`, and ends the stream."""
        if self._ended:
            raise SeparationError("This stream has ended: make another LiveSeparator.")
        while self._computing:
            self._take(self._computing.popleft().result())
        self._take(self._stream.flush())
        self.close()
        return self._finished

    def close(self) -> None:
        """Ends the stream without its last samples."""
        self._ended = True
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _take(self, finished: np.ndarray) -> None:
        self._finished = np.concatenate([self._finished, finished], axis=1)

    def _missing(self, rows: np.ndarray) -> bool:
        return self._finished.shape[1] < rows.shape[1]


def latency_samples(
    plan: WindowPlan, *, sample_rate_hz: int, model_rate_hz: int, background: bool = False
) -> int:
    """Returns the longest time from a sample to its estimate, in samples of `sample_rate_hz`.

    A sample waits for the end of its window, stride + fade + context - 1 samples at the model's rate, and for
    the filters of both resamplers.

    Args:
      plan: the windows.
      sample_rate_hz: of the mixture.
      model_rate_hz: of the model.
      background: a window is computed while the samples of the next stride come.
    """
    strides = 2 if background else 1
    window = strides * plan.stride + plan.fade + plan.context - 1
    down = _resampler_delay(sample_rate_hz, model_rate_hz)
    up = _resampler_delay(model_rate_hz, sample_rate_hz)
    return math.ceil(down + (window + up) * sample_rate_hz / model_rate_hz) + 1


@functools.lru_cache
def _resampler_delay(from_hz: int, to_hz: int) -> float:
    """Returns the most input samples that a resampler holds back: measured, because it computes in blocks."""
    if from_hz == to_hz:
        return 0
    resampler = StreamResampler(channels=1, from_hz=from_hz, to_hz=to_hz)
    size = -(-from_hz // 2000)
    silence = np.zeros((1, size), np.float32)
    pushed, returned, longest = 0, 0, 0.0
    while pushed < 3 * from_hz:
        pushed += size
        returned += resampler.push(silence).shape[1]
        longest = max(longest, pushed - returned * from_hz / to_hz)
    # It may hold back one block more between two blocks; 5 ms allow for states of its stages that this input
    # did not meet.
    return longest + size + from_hz / 200
