"""Ctrl-C between two steps, never inside one."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType


@contextlib.contextmanager
def noted_interrupts() -> Iterator[Callable[[], bool]]:
    """Notes the first Ctrl-C instead of raising it; yields the question whether there was one.

    Python raises KeyboardInterrupt wherever it happens to be, and drops it where that is a callback of
    the garbage collector. A second Ctrl-C is raised as usual. Outside the main thread, and where another
    handler is installed, nothing changes.
    """
    noted = False

    def note(_signal: int, _frame: FrameType | None) -> None:
        nonlocal noted
        if noted:
            raise KeyboardInterrupt
        noted = True

    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not usual or threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: noted
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
