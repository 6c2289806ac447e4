"""Saving by time: when an interval has passed, as all processes agree."""

import time
from collections.abc import Callable

import jax
import numpy as np
from jax.experimental import multihost_utils

Clock = Callable[[], float]
"""Seconds since some moment."""


def from_lead(value: int) -> int:
    """Returns the number that the lead process gives; every process calls it at the same place."""
    if jax.process_count() == 1:
        return value
    with jax.transfer_guard("allow"):
        return int(multihost_utils.broadcast_one_to_all(np.int32(value)))


class SaveInterval:
    """Tells after which steps an interval has passed by the clock of the lead process.

    Clocks differ, and a step is not done on all hosts at once, so the lead decides for all. To be told waits
    for the device, so that is rare: after half of the steps that fit into what is left of the interval, then
    half of the rest, and so on.

    Args:
      minutes: the interval; 0 for none.
      step: at which it begins.
      clock: seconds, only looked at by the lead process.
    """

    def __init__(self, minutes: float, *, step: int, clock: Clock = time.monotonic) -> None:
        self._seconds = 60 * minutes
        self._clock = clock
        self.restart(step)

    def restart(self, step: int) -> None:
        """Begins anew at `step`."""
        self._started = self._asked_at = self._clock()
        self._asked_step = step
        self._next_question = step + 1

    def passed(self, step: int) -> bool:
        """Whether the interval has passed; every process asks at every step."""
        if not self._seconds or step < self._next_question:
            return False
        ahead = from_lead(self._steps_to_wait(step))
        self._next_question = step + ahead
        return ahead == 0

    def _steps_to_wait(self, step: int) -> int:
        """0 where the interval has passed, else how many steps need not ask."""
        now = self._clock()
        left = self._seconds - (now - self._started)
        seconds_per_step = (now - self._asked_at) / (step - self._asked_step)
        self._asked_at, self._asked_step = now, step
        if left <= 0:
            return 0
        return max(1, int(min(left / 2 / max(seconds_per_step, 1e-6), 1e6)))
