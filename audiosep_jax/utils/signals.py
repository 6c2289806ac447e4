"""Turns SIGTERM into an exception, and sends signals again whose exception was lost."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

_AGAIN_SECONDS = 0.2


class Terminated(SystemExit):
    """SIGTERM came. Code that continues after errors does not catch this."""

    number = signal.SIGTERM


@contextlib.contextmanager
def unwinding_at_sigterm() -> Iterator[None]:
    """Turns SIGTERM into an exception in the block, so that half-written files are removed.

    Outside the main thread, and if SIGTERM has a handler already, nothing changes.

    The signal may come in code that cannot raise, such as JAX's callback of the garbage collector. Python
    then prints and drops the exception, and the signal is sent once more.
    """
    last = -float("inf")
    usual = sys.unraisablehook

    def unwind(_number: int, _frame: FrameType | None) -> None:
        # `timeout` and others send the signal twice, to the process and to its group: the second one must not
        # interrupt the cleanup.
        nonlocal last
        again = time.monotonic() - last < 1.0
        last = time.monotonic()
        if not again:
            raise Terminated(143)

    def lost(unraisable: Any) -> None:
        nonlocal last
        if not isinstance(unraisable.exc_value, Terminated | KeyboardInterrupt):
            usual(unraisable)
            return
        last = -float("inf")
        number = signal.SIGTERM if isinstance(unraisable.exc_value, Terminated) else signal.SIGINT
        # An exception that is raised here would be lost, too.
        later = threading.Timer(_AGAIN_SECONDS, os.kill, (os.getpid(), number))
        later.daemon = True
        later.start()

    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, unwind)
    sys.unraisablehook = lost
    try:
        yield
    finally:
        sys.unraisablehook = usual
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
