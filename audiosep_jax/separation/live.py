"""Separation of sound that is still arriving: a block in, a block of its length out, a stated time later."""

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
from audiosep_jax.separation.checks import checked_rate, checked_waveform
from audiosep_jax.separation.model import Core
from audiosep_jax.separation.options import Options, checked
from audiosep_jax.separation.queries import Query, QueryLike, described
from audiosep_jax.separation.stream import EstimateStream

_STRIDE_SECONDS, _LEFT_SECONDS, _AHEAD_SECONDS, _FADE_SECONDS = 0.5, 1.0, 0.45, 0.03


def live_plan(config: ModelConfig, *, stride_seconds: float = _STRIDE_SECONDS) -> WindowPlan:
    """Returns windows that begin and wait as little as the model bears.

    A window hears at least 1 s of what is past, says `stride` samples, and hears at least 0.45 s of what
    follows. All are multiples of the model's pooling grid: off the grid it pools other frames together.

    Args:
      config: of the model.
      stride_seconds: how often the model runs, rounded up to the grid. Longer strides compute less and wait
        longer.

    Raises:
      AudioSepError: the stride is not positive, or longer than a minute.
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
    """One sound out of a mixture that arrives in blocks.

    What `push` and `flush` return, joined, has the mixture's length. With a lead as long as the windows' left
    context the first samples wait no longer than all others, and from the second window on the result is the
    same as without.

    Args:
      model: the separator.
      query: the sound; with nothing but `without`, everything else.
      plan: the windows.
      lead: samples of silence at the model's rate that the first window hears before the mixture.
      channels, sample_rate_hz: of the mixture.
      options: all of them, see `options.checked`.
    """

    def __init__(
        self,
        model: Core,
        *,
        query: Query,
        plan: WindowPlan,
        lead: int,
        channels: int,
        sample_rate_hz: int,
        options: Options,
    ) -> None:
        work = model.work([query], options)
        rows, heard = (1, channels) if work.shared else (channels, 1)
        # A window is computed as soon as it is there: it waits neither for others nor behind them.
        work = dataclasses.replace(work, batch_size=min(work.batch_size, rows), in_flight=1)
        # Compiled before the first block comes.
        work.process(np.zeros((work.batch_size, heard, plan.window), np.float32))
        self._stream = EstimateStream(
            work,
            plan=plan,
            grid=1
            if plan.short_last
            else window_plans.grid(model.config.model),  # the reference knows no grid
            channels=channels,
            sample_rate_hz=sample_rate_hz,
            model_rate_hz=model.sample_rate_hz,
            lead=lead,
        )
        self._subtracts = not query.parts
        self._mixture = np.zeros((channels, 0), np.float32)  # what the estimate is still subtracted from

    def push(self, mixture: Float32[np.ndarray, "channels samples"]) -> Float32[np.ndarray, "channels out"]:
        """Takes the next samples and returns those that are finished, possibly none."""
        if self._subtracts:
            self._mixture = np.concatenate([self._mixture, mixture], axis=1)
        return self._sound(self._stream.push(mixture)[0])

    def flush(self) -> Float32[np.ndarray, "channels out"]:
        """Returns the rest. Nothing can be pushed afterwards."""
        return self._sound(self._stream.flush()[0])

    def level_db(self) -> float:
        """Returns how loud the estimate is, once all is flushed, for `Core.judged`."""
        return self._stream.levels_db()[0]

    def _sound(self, estimate: np.ndarray) -> np.ndarray:
        if not self._subtracts:
            return estimate
        samples = estimate.shape[1]
        sound = self._mixture[:, :samples] - estimate
        self._mixture = self._mixture[:, samples:]
        return sound


class LiveSeparator:
    """Separates sound that is still arriving, such as that of a microphone.

    Every `push` returns a block of the length that it was given. Joined, the blocks are `latency_samples`
    zeros and then the sound: sample n comes out with sample n + latency_samples of the mixture. How the
    mixture is cut into blocks changes nothing. `flush` returns the last `latency_samples` samples.

    Args:
      model: as `audiosep_jax.load` returns it.
      sample_rate_hz: of the blocks, whatever the model's is.
      channels: of the blocks.
      query: a sentence or a `Query`, as in `AudioSep.separate`.
      query_audio, query_images, condition: in the place of a sentence, as in `AudioSep.separate`.
      without: what must not be in the result; alone, the result is everything else.
      stride_seconds: how often the model runs; see `live_plan`.
      background: the model runs in a thread of its own while further blocks come, and `push` returns at once
        as long as the computer keeps up. Every sample waits one stride longer.
      **given: see `options.Options`; `upstream_windows` is none of them here.

    Attributes:
      plan: the windows, at the model's rate.
      latency_samples, latency_seconds: from a sample of the mixture to the same sample of the result.

    Raises:
      AudioSepError: a query, rate or option that cannot be used.

    Example:
      >>> with LiveSeparator(model, sample_rate_hz=48_000, query="speech") as live:  # doctest: +SKIP
      ...     for block in microphone:
      ...         loudspeaker.play(live.push(block))
    """

    def __init__(
        self,
        model: Core,
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
        **given: Unpack[Options],
    ) -> None:
        if channels < 1:
            raise WaveformError(f"{channels} channels were given: at least 1 is needed.")
        if given.get("upstream_windows"):
            raise ConfigError("upstream_windows are 5 s long: they are not for live sound.")
        self._channels, rate, options = channels, checked_rate(sample_rate_hz), checked(given)
        self.plan = live_plan(model.config.model, stride_seconds=stride_seconds)
        self._stream = SoundStream(
            model,
            query=described(query, query_audio, query_images, condition, without),
            plan=self.plan,
            lead=self.plan.left,
            channels=channels,
            sample_rate_hz=rate,
            options=options,
        )
        self.latency_samples = latency_samples(
            self.plan, sample_rate_hz=rate, model_rate_hz=model.sample_rate_hz, background=background
        )
        if options.get("high_band") == "extend" and rate > model.sample_rate_hz:
            self.latency_samples += high_band.delay_samples(rate)
        self.latency_seconds = self.latency_samples / rate
        self._finished = np.zeros((channels, self.latency_samples), np.float32)
        self._thread = ThreadPoolExecutor(1) if background else None
        self._computing: deque[Future[np.ndarray]] = deque()
        self._ended = False

    def push(self, block: Float[np.ndarray, "*channels samples"]) -> Float32[np.ndarray, "*channels samples"]:
        """Takes the next block and returns one of the same shape, `latency_samples` behind.

        Args:
          block: `[channels, samples]`, or `[samples]` of one channel; floating point, full scale ±1; it may
            have any length.

        Raises:
          AudioSepError: a block of another shape or type, with NaN, or after `flush`.
        """
        if self._ended:
            raise SeparationError("This stream has ended: make another LiveSeparator.")
        if np.ndim(block) and np.shape(block)[-1] == 0:
            return np.asarray(block, np.float32)
        mixture = checked_waveform(block)
        rows = mixture[None] if mixture.ndim == 1 else mixture
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
    """Returns how long a sample waits at most for its estimate, in samples of `sample_rate_hz`.

    It waits for the end of its window, which is stride + fade + context samples less one at the model's rate,
    and for the filters of both resamplers.

    Args:
      plan: the windows.
      sample_rate_hz: of the mixture.
      model_rate_hz: of the model.
      background: the window is computed while the samples of the next stride come.
    """
    strides = 2 if background else 1
    window = strides * plan.stride + plan.fade + plan.context - 1
    down = _resampler_delay(sample_rate_hz, model_rate_hz)
    up = _resampler_delay(model_rate_hz, sample_rate_hz)
    return math.ceil(down + (window + up) * sample_rate_hz / model_rate_hz) + 1


@functools.lru_cache
def _resampler_delay(from_hz: int, to_hz: int) -> float:
    """Samples of the input that a resampler holds back at most: measured, since it computes in blocks."""
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
    # Between two blocks it may have held back one more; and 5 ms for a beat of its stages that was not met.
    return longest + size + from_hz / 200
