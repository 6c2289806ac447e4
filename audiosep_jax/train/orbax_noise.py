"""What Orbax prints beside the errors that it raises, which are worded once, where they are raised."""

import functools
import logging
import sys


def quiet_orbax() -> None:
    """Drops tracebacks of errors that are raised as well, and of answers that come after one."""
    for name in ("absl", "asyncio"):
        logging.getLogger(name).addFilter(_worth_saying)
    if getattr(sys.unraisablehook, "func", None) is not _unraisable:
        sys.unraisablehook = functools.partial(_unraisable, sys.unraisablehook)


def _worth_saying(record: logging.LogRecord) -> bool:
    said = record.getMessage()
    # Of many writes that fail together, one is raised, and asyncio tells of the others.
    abandoned = said.startswith("Future exception was never retrieved") or (
        said.startswith("Task exception was never retrieved") and "orbax" in said
    )
    return not (abandoned or (record.exc_info and "orbax" in record.pathname))


def _unraisable(usual, unraisable) -> None:
    # Where one of many reads or writes fails, the event loop ends, and the others answer to nobody.
    error = unraisable.exc_value
    closed = isinstance(error, RuntimeError) and str(error) == "Event loop is closed"
    if not closed and not isinstance(getattr(error, "__cause__", None), GeneratorExit):
        usual(unraisable)
