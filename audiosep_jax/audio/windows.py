"""Processes long waveforms in windows of one length with cross-fades, in constant memory."""

import dataclasses
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from jaxtyping import Float32

from audiosep_jax.errors import ConfigError

Process = Callable[
    [Float32[np.ndarray, "batch *inputs window"]], Float32[np.ndarray, "batch *outputs window"]
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class WindowPlan:
    """How a waveform of any length is cut into windows.

    Window i begins at `i · stride`; the last one ends with the waveform. From `i · stride + left` on, the
    result fades over `fade` samples from the previous window to window i. The results of a window for its
    first `left` and its last `context` samples are discarded, except at the two ends of the waveform.

    Attributes:
      window: length of a window in samples.
      context: samples at each border of a window whose results are discarded.
      left_context: the same at the left border, if that is another number: context in the past adds no
        latency. None takes `context`.
      fade: length of a cross-fade in samples; 0 cuts hard.
      short_last: the last window begins at a multiple of the stride, like the others, and is shorter: longer
        than both contexts and the fade unless it is the only one. Otherwise it has the length of the others
        and begins earlier, and sound shorter than one window is mirrored at its end.

    Raises:
      ConfigError: the window is too short for the contexts and the fade.
    """

    window: int
    context: int
    fade: int
    left_context: int | None = None
    short_last: bool = False

    def __post_init__(self) -> None:
        if min(self.left, self.context, self.fade) < 0 or self.stride < max(1, self.fade):
            contexts = str(self.context) if self.left == self.context else f"{self.left} + {self.context}"
            raise ConfigError(
                f"Windows of {self.window} samples cannot have {contexts} samples of context and fades of "
                f"{self.fade}: the window without both contexts must be at least twice the fade."
            )

    @property
    def left(self) -> int:
        """Samples of context at the left border."""
        return self.context if self.left_context is None else self.left_context

    @property
    def stride(self) -> int:
        """Samples from the beginning of a window to that of the next."""
        return self.window - self.left - self.context - self.fade


class OverlapAdd:
    """Applies a function to a waveform that arrives in blocks, window by window.

    What `push` and `flush` return, joined, has the length of the input; if the function returns its argument,
    it is the input. Memory is bounded by a few windows.

    Args:
      process: `[batch_size, *inputs, window] -> [batch_size, *outputs, window]`, with independent rows. All
        calls have this shape, except for the last windows of a plan with `short_last`.
      plan: how the waveform is cut.
      channels: number of independent rows of the waveform, each `[*inputs, samples]`.
      batch_size: rows in a call.
      inputs: shape of a row without its samples; () for one signal.
      outputs: shape of the function's result for a row, without its samples.
      in_flight: calls that are computed at once, in as many threads; 1 computes within `push`. The result is
        the same and comes up to as many calls later.
      gain: position of a window's end -> the factor of this window; its result is divided by the factor. None
        changes nothing.
    """

    def __init__(
        self,
        process: Process,
        *,
        plan: WindowPlan,
        channels: int,
        batch_size: int,
        inputs: tuple[int, ...] = (),
        outputs: tuple[int, ...] = (),
        in_flight: int = 1,
        gain: Callable[[int], np.float32] | None = None,
    ) -> None:
        self._process, self._plan, self._gain = process, plan, gain
        self._channels, self._batch_size = channels, batch_size
        self._buffer = np.zeros((channels, *inputs, 0), np.float32)
        self._pushed = self._returned = 0
        self._cut_windows = self._joined_windows = 0
        self._starts: list[int] = []  # of the windows that are cut and not joined
        self._gains: list[np.float32] = []  # of the same windows
        self._waiting: list[np.ndarray] = []  # rows that are not processed
        self._computing: deque[Future[np.ndarray]] = deque()
        self._processed: list[np.ndarray] = []
        self._tail = np.zeros((channels, *outputs, 0), np.float32)  # of the last joined window, for the next
        phase = np.pi / 2 * (np.arange(plan.fade) + 0.5) / max(1, plan.fade)
        self._fade_in = (np.sin(phase) ** 2).astype(np.float32)
        self._in_flight = in_flight
        self._threads = ThreadPoolExecutor(in_flight) if in_flight > 1 else None

    def push(
        self, block: Float32[np.ndarray, "channels *inputs samples"]
    ) -> Float32[np.ndarray, "channels *outputs out"]:
        """Takes the next samples and returns the finished ones, possibly none."""
        finished = [self._tail[..., :0]]
        # Long blocks are processed in parts, so that the buffer stays short.
        for start in range(0, block.shape[-1], self._plan.window):
            part = block[..., start : start + self._plan.window]
            self._pushed += part.shape[-1]
            # The last window ends with the waveform, so it may begin one window before this point.
            self._buffer = np.concatenate([self._buffer[..., -2 * self._plan.window :], part], axis=-1)
            while self._pushed >= (begin := self._cut_windows * self._plan.stride) + self._plan.window:
                self._cut(begin)
            self._process_batches()
            finished += self._join()
        return self._count(np.concatenate(finished, axis=-1))

    def flush(self) -> Float32[np.ndarray, "channels *outputs out"]:
        """Returns the rest. Nothing can be pushed afterwards."""
        reached = (self._cut_windows - 1) * self._plan.stride + self._plan.window if self._cut_windows else 0
        if self._plan.short_last:
            self._process_rest()  # a batch has one length
        if self._pushed > reached:
            short = self._cut_windows * self._plan.stride
            self._cut(short if self._plan.short_last else max(0, self._pushed - self._plan.window))
        self._process_rest()
        rest = np.concatenate([*self._join(), self._tail], axis=-1)
        self.close()
        return self._count(rest[..., : self._pushed - self._returned])

    def close(self) -> None:
        """Ends the threads and cancels calls that have not begun. Nothing can be pushed afterwards."""
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)

    def _cut(self, start: int) -> None:
        offset = start - (self._pushed - self._buffer.shape[-1])
        rows = self._buffer[..., offset : offset + self._plan.window]
        gain = np.float32(1)
        if self._gain is not None:
            gain = self._gain(min(start + self._plan.window, self._pushed))
            rows = rows * gain
        self._waiting += list(rows if self._plan.short_last else _extended(rows, self._plan))
        self._starts.append(start)
        self._gains.append(gain)
        self._cut_windows += 1

    def _process_batches(self) -> None:
        while len(self._waiting) >= self._batch_size:
            batch = np.stack(self._waiting[: self._batch_size])
            del self._waiting[: self._batch_size]
            if self._threads is None:
                self._processed += list(self._compute(batch))
            else:
                self._computing.append(self._threads.submit(self._compute, batch))
                self._collect(self._in_flight)  # one call more than threads, so that no thread waits

    def _compute(self, batch: np.ndarray) -> np.ndarray:
        return np.asarray(self._process(batch), np.float32)

    def _collect(self, left: int) -> None:
        while len(self._computing) > left:
            self._processed += list(self._computing.popleft().result())

    def _process_rest(self) -> None:
        if self._waiting:
            missing = -len(self._waiting) % self._batch_size
            self._waiting += [np.zeros_like(self._waiting[0])] * missing
            self._process_batches()
        self._collect(0)
        # Rows that only filled the batch must not come before those of the last windows.
        del self._processed[len(self._starts) * self._channels :]

    def _join(self) -> Iterator[np.ndarray]:
        while self._starts and len(self._processed) >= self._channels:
            rows = np.stack(self._processed[: self._channels]) / self._gains.pop(0)
            del self._processed[: self._channels]
            index, start = self._joined_windows, self._starts.pop(0)
            fade_at = index * self._plan.stride + self._plan.left if index else 0
            rows = rows[..., fade_at - start :]
            if index:
                # The weights of old and new sum to one: equal results stay as they are.
                fade = self._plan.fade
                old, new = self._tail[..., :fade], rows[..., :fade]
                rows = np.concatenate([old + self._fade_in * (new - old), rows[..., fade:]], axis=-1)
            keep = (index + 1) * self._plan.stride + self._plan.left - fade_at
            self._tail = rows[..., keep:]
            self._joined_windows += 1
            yield rows[..., :keep]

    def _count(self, finished: np.ndarray) -> np.ndarray:
        self._returned += finished.shape[-1]
        return finished


def _extended(rows: np.ndarray, plan: WindowPlan) -> np.ndarray:
    # A sound shorter than one window is mirrored at its end, as the STFT does, and followed by silence.
    mirrored = max(0, min(plan.context, rows.shape[-1] - 1, plan.window - rows.shape[-1]))
    before = [(0, 0)] * (rows.ndim - 1)
    rows = np.pad(rows, (*before, (0, mirrored)), mode="reflect")
    return np.pad(rows, (*before, (0, plan.window - rows.shape[-1])))
