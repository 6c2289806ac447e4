"""SIGTERM as an exception that unwinds, and signals whose exception got lost, raised again."""

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
    """SIGTERM came; nothing that is to go on after an error catches it."""

    number = signal.SIGTERM


@contextlib.contextmanager
def unwinding_at_sigterm() -> Iterator[None]:
    """Makes SIGTERM an exception, so that what is half written is removed.

    A signal may come while Python runs what may not raise, such as a callback of the garbage collector, of
    which JAX has one: its exception is printed and forgotten. Then the signal is sent once more.

    Outside the main thread, and where SIGTERM has a handler already, nothing changes.
    """
    last = -float("inf")
    usual = sys.unraisablehook

    def unwind(_number: int, _frame: FrameType | None) -> None:
        # `timeout` and others send it twice, to the process and to its group: the second must not stop the
        # cleaning up.
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
        # From here it would be lost again.
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
