"""When one process of a run fails, all others exit at once instead of hanging in a collective."""

import atexit
import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator

import jax

from audiosep_jax.errors import AudioSepError, printable
from audiosep_jax.train.jax_internals import Store, store

_ENDED = "audiosep_jax/ended"
"""Exit status and error of the first process that failed."""
_LEFT = "audiosep_jax/left"
"""Number of processes that know of the end and exit, without process 0."""
_POLL_SECONDS = 1.0
_OTHERS_SECONDS = 30.0
"""Longest time that process 0 waits for the others to exit; a killed process never counts itself."""


@contextlib.contextmanager
def ending_together() -> Iterator[None]:
    """Ends all processes of the run when this one ends with an error.

    Otherwise the others wait in a collective for the missing process, and at exit JAX waits five minutes for
    them and aborts with a status on which launchers restart. A user's mistake ends every process with status
    2, any other error with 1. Signals need no message: they stop all processes at the same step anyway. A
    process without others ends as usual.
    """
    client = store()
    if client is None or jax.process_count() == 1:
        yield
        return
    over = threading.Event()
    thread = threading.Thread(target=_watch, args=(client, over), name="shutdown", daemon=True)
    thread.start()
    try:
        yield
    except Exception as error:
        over.set()
        status = error.status if isinstance(error, AudioSepError) else 1
        text = " ".join(str(error).split()) or type(error).__name__
        with contextlib.suppress(Exception):  # another process was first, or process 0 is gone with the store
            client.key_value_set(_ENDED, f"{status} process {jax.process_index()} stopped: {text}")
        _wait_for_others(client)
        # Runs before JAX's own exit handler, which would wait for the others.
        atexit.register(_end, status)
        raise
    finally:
        over.set()
        thread.join(10 * _POLL_SECONDS)


def _watch(client: Store, over: threading.Event) -> None:
    """Polls for the error of another process, and then ends this one.

    A blocking read would answer sooner, but it cannot be interrupted, and a thread that is in it when Python
    exits crashes the process.
    """
    while not over.wait(_POLL_SECONDS):
        try:
            message = client.key_value_try_get(_ENDED)
        except Exception as error:
            if "NOT_FOUND" in str(error):
                continue
            return  # process 0 is gone; JAX reports it
        if not over.is_set():
            status, _, text = message.partition(" ")
            print(f"audiosep: error: {printable(text)}", file=sys.stderr)
            _wait_for_others(client)
            _end(int(status))


def _wait_for_others(client: Store) -> None:
    """Lets process 0 exit last: it holds the store, and JAX aborts every process that outlives the store."""
    with contextlib.suppress(Exception):  # process 0 is gone already
        if jax.process_index() != 0:
            client.key_value_increment(_LEFT, 1)
            return
        others, end = jax.process_count() - 1, time.monotonic() + _OTHERS_SECONDS
        while client.key_value_increment(_LEFT, 0) < others and time.monotonic() < end:
            time.sleep(_POLL_SECONDS / 10)
        time.sleep(_POLL_SECONDS)  # for their last lines


def _end(status: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)
