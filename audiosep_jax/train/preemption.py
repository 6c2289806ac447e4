"""Ctrl-C and SIGTERM between two steps, never inside one, and at the same step on every host."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

import jax
from jax.experimental import multihost_utils

from audiosep_jax.errors import Stopped

_SAME_SECONDS = 1.0
"""`timeout` and others send a signal twice, to the process and to its group: that counts once."""


class Preemption:
    """Notes Ctrl-C and SIGTERM; `noted_preemption` makes it."""

    def __init__(self, *, several: bool) -> None:
        self._several = several
        self._numbers: list[int] = []
        self._last = -float("inf")
        self._agreed = False

    def __call__(self, step: int) -> bool:
        """Whether to stop instead of taking step `step`.

        Every process asks once at every step, with the same numbers, and gets the same answer.
        """
        if self._several and not self._agreed:
            self._agreed = multihost_utils.reached_preemption_sync_point(step)
            if self._agreed and threading.current_thread() is threading.main_thread():
                # JAX's own handler would keep a second signal to itself. A first one may yet come: not every
                # launcher reaches all processes at once.
                signal.signal(signal.SIGTERM, self.note)
        return self._agreed if self._several else bool(self._numbers)

    def stopped(self) -> Stopped:
        """Returns what to raise when everything is on disk: it knows which signal came."""
        return Stopped(self._numbers[0] if self._numbers else signal.SIGTERM)

    def note(self, number: int, _frame: FrameType | None) -> None:
        """Handles a signal: notes the first, and ends the process at the second."""
        again = time.monotonic() - self._last < _SAME_SECONDS
        self._last = time.monotonic()
        if again:
            return
        if self._numbers:
            end_at_once(number)
        self._numbers.append(number)
        if self._several and not self._agreed:
            os.kill(os.getpid(), signal.SIGTERM)  # which JAX notes and tells the other processes


def end_at_once(number: int) -> None:
    """Ends the process as the signal itself would."""
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)
    os._exit(128 + number)  # the first process of a container ignores what has no handler


@contextlib.contextmanager
def noted_preemption() -> Iterator[Preemption]:
    """Notes the first Ctrl-C or SIGTERM instead of obeying it; yields the question whether to stop at a step.

    Python raises KeyboardInterrupt wherever it happens to be, and drops it where that is a callback of
    the garbage collector; SIGTERM ends it wherever it is. Here the loop asks before every step, saves when
    the answer is yes, and raises `stopped()`.

    With several processes JAX notes SIGTERM on any of them, tells the others, and lets all agree on a step
    that none has reached yet; Ctrl-C on one becomes SIGTERM. A second signal ends the process at once, but
    for one that follows within a second; with several processes the count of SIGTERM starts when they
    have agreed.

    Outside the main thread, and where another program's handler is installed, nothing changes. An ignored
    Ctrl-C, as of a process in the background, stays ignored.
    """
    several = jax.process_count() > 1
    preemption = Preemption(several=several)
    if threading.current_thread() is not threading.main_thread():
        yield preemption
        return
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    taken = {number: usual[number] for number in usual if signal.getsignal(number) is usual[number]}
    for number in taken:
        if not (several and number == signal.SIGTERM):
            signal.signal(number, preemption.note)
    try:
        yield preemption
    finally:
        for number, handler in taken.items():
            signal.signal(number, handler)
