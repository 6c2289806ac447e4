"""What Orbax prints beside the errors that it raises, which are worded once, where they are raised."""

import functools
import logging
import sys


def quiet_orbax() -> None:
    """Drops tracebacks of errors that are raised as well, and of answers that come after one."""
    logging.getLogger("absl").addFilter(_worth_saying)
    if not isinstance(sys.unraisablehook, functools.partial):
        sys.unraisablehook = functools.partial(_unraisable, sys.unraisablehook)


def _worth_saying(record: logging.LogRecord) -> bool:
    return not (record.exc_info and "orbax" in record.pathname)


def _unraisable(usual, unraisable) -> None:
    # Where one of many reads or writes fails, the event loop ends, and the others answer to nobody.
    error = unraisable.exc_value
    closed = isinstance(error, RuntimeError) and str(error) == "Event loop is closed"
    if not closed and not isinstance(getattr(error, "__cause__", None), GeneratorExit):
        usual(unraisable)
