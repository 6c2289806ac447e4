"""How long the device computes, measured beside a loop that does not wait for it."""

import queue
import threading
import time

import jax


class DeviceClock:
    """A thread that waits for the result of every step and notes when it was there.

    A step begins when the one before has ended, or when it is handed over, whichever is later; it ends when
    its result is there. The sum is the time in which the device was busy with steps, whatever the loop did
    meanwhile. A thread wakes up late by less than a millisecond, or by a few where Python is busy.

    Attributes:
      last_seconds: how long the newest finished step took.
    """

    def __init__(self) -> None:
        self._steps: queue.SimpleQueue[tuple[float, jax.Array] | None] = queue.SimpleQueue()
        self._busy = self.last_seconds = 0.0
        self._thread = threading.Thread(target=self._watch, name="device clock", daemon=True)
        self._thread.start()

    def handed_over(self, at: float, result: jax.Array) -> None:
        """Notes a step.

        Args:
          at: `time.perf_counter()` right before it was handed over.
          result: one of its results; it must not be donated to another program.
        """
        self._steps.put((at, result))

    def busy_seconds(self) -> float:
        """Returns how long the device has computed steps until now, finished ones alone."""
        return self._busy

    def close(self) -> None:
        """Ends the thread once the steps it knows are done."""
        self._steps.put(None)
        self._thread.join()

    def _watch(self) -> None:
        ended = 0.0
        while (step := self._steps.get()) is not None:
            at, result = step
            try:
                result.block_until_ready()
            except Exception:
                continue  # the loop reads the same result and says what is wrong
            now = time.perf_counter()
            self.last_seconds = now - max(at, ended)
            self._busy += self.last_seconds
            ended = now
