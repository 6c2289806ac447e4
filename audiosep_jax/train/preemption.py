"""Ctrl-C and SIGTERM stop a run between two steps, at the same step on every host."""

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
"""`timeout` and others send a signal twice, to the process and to its group; that counts once."""


class Preemption:
    """Notes Ctrl-C and SIGTERM; `noted_preemption` makes it."""

    def __init__(self, *, several: bool) -> None:
        self._several = several
        self._numbers: list[int] = []
        self._last = -float("inf")
        self._agreed = False

    def __call__(self, step: int) -> bool:
        """Tells whether to stop before step `step`.

        Every process calls it once at every step, with the same numbers, and gets the same answer.
        """
        if self._several and not self._agreed:
            self._agreed = multihost_utils.reached_preemption_sync_point(step)
            if self._agreed and threading.current_thread() is threading.main_thread():
                # JAX's handler would swallow a second signal. A first one may still come: not every launcher
                # signals all processes at once.
                signal.signal(signal.SIGTERM, self.note)
        return self._agreed if self._several else bool(self._numbers)

    def stopped(self) -> Stopped:
        """Returns the exception to raise after the save; it holds the signal."""
        return Stopped(self._numbers[0] if self._numbers else signal.SIGTERM)

    def note(self, number: int, _frame: FrameType | None) -> None:
        """Handles a signal: notes the first one, and ends the process at the second."""
        again = time.monotonic() - self._last < _SAME_SECONDS
        self._last = time.monotonic()
        if again:
            return
        if self._numbers:
            end_at_once(number)
        self._numbers.append(number)
        if self._several and not self._agreed:
            os.kill(os.getpid(), signal.SIGTERM)  # JAX notes it and tells the other processes


def end_at_once(number: int) -> None:
    """Ends the process as the signal would without a handler."""
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)
    os._exit(128 + number)  # process 1 of a container ignores a signal without a handler


@contextlib.contextmanager
def noted_preemption() -> Iterator[Preemption]:
    """Notes the first Ctrl-C or SIGTERM; yields a function that tells whether to stop before a step.

    By default Python raises KeyboardInterrupt anywhere, and loses it in a callback of the garbage collector;
    SIGTERM ends the process anywhere. Here the loop asks before every step, saves if it must stop, and raises
    `stopped()`.

    With several processes JAX notes SIGTERM on any of them, tells the others, and all agree on a step that
    none has reached yet; Ctrl-C becomes SIGTERM. A second signal ends the process at once, unless it follows
    within a second; with several processes SIGTERM is counted from the agreement on.

    Outside the main thread, or if another program has installed a handler, nothing changes. A Ctrl-C that is
    ignored, as in a background process, stays ignored.
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
