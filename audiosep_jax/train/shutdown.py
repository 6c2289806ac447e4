"""Processes of a run end together: what stops one is told to all, which then do not wait for it."""

import atexit
import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import jax
from jax._src import distributed as jax_distributed  # JAX shows the store of its processes nowhere else

from audiosep_jax.errors import AudioSepError, printable

_KEY = "audiosep_jax/ended"
_GONE = "audiosep_jax/gone"
"""How many processes but process 0 know of the end, and leave."""
_ASK_SECONDS = 1.0
_OTHERS_SECONDS = 30.0
"""The longest that process 0 waits for the others to be gone; one that was killed never says it."""


@contextlib.contextmanager
def ending_together() -> Iterator[None]:
    """Ends all processes of the run when this one ends with an error.

    Without it the others wait in a collective operation for one that does not come, and at its exit JAX
    waits for them, five minutes long, to abort all in the end with a status that launchers restart on. A
    mistake ends every process with 2, anything else with 1. Signals are not told here: they stop all
    processes at the same step anyway. A process that is alone ends as ever.
    """
    client = jax_distributed.global_state.client
    if client is None or jax.process_count() == 1:
        yield
        return
    over = threading.Event()
    listening = threading.Thread(target=_listen, args=(client, over), name="farewell", daemon=True)
    listening.start()
    try:
        yield
    except Exception as error:
        over.set()
        status = error.status if isinstance(error, AudioSepError) else 1
        said = " ".join(str(error).split()) or type(error).__name__
        with contextlib.suppress(Exception):  # another process was first, or process 0 is gone with the store
            client.key_value_set(_KEY, f"{status} process {jax.process_index()} stopped: {said}")
        _let_others_go(client)
        # Runs before JAX's own, which would wait for the others.
        atexit.register(_end, status)
        raise
    finally:
        over.set()
        listening.join(10 * _ASK_SECONDS)


def _listen(client: Any, over: threading.Event) -> None:
    """Asks now and then whether some process has told its end, and then ends this one.

    A call that waits for the answer would be shorter, but a thread that is in it when Python ends takes the
    whole process down with it, and nothing but the answer ends it.
    """
    while not over.wait(_ASK_SECONDS):
        try:
            told = client.key_value_try_get(_KEY)
        except Exception as error:
            if "NOT_FOUND" in str(error):
                continue
            return  # process 0 is gone; JAX says so
        if not over.is_set():
            status, _, said = told.partition(" ")
            print(f"audiosep: error: {printable(said)}", file=sys.stderr)
            _let_others_go(client)
            _end(int(status))


def _let_others_go(client: Any) -> None:
    """Process 0 keeps the store, and JAX aborts whoever is still there when it is gone: it goes last."""
    with contextlib.suppress(Exception):  # process 0 is gone already
        if jax.process_index() != 0:
            client.key_value_increment(_GONE, 1)
            return
        others, end = jax.process_count() - 1, time.monotonic() + _OTHERS_SECONDS
        while client.key_value_increment(_GONE, 0) < others and time.monotonic() < end:
            time.sleep(_ASK_SECONDS / 10)
        time.sleep(_ASK_SECONDS)  # for their last lines


def _end(status: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)
