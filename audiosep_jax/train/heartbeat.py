"""A small file per process that shows whether a run makes progress."""

import contextlib
import datetime
import json
import os
import socket
import threading
from collections.abc import Callable
from typing import Self

from audiosep_jax.train.goodput import Clock
from audiosep_jax.train.workdir import Workdir

FOLDER = "heartbeats"
LOCAL_SECONDS = 5.0
REMOTE_SECONDS = 30.0  # every write to a bucket costs


class Heartbeat:
    """A context manager whose thread keeps `heartbeats/00000.json` up to date.

    The file holds the activity of the loop and its start: the time of a hanging loop is old, although its
    process and this thread live. It is only written when something has changed.
    At the same interval of `seconds` (None depends on the storage) it calls `also`, for other such files.
    """

    def __init__(
        self,
        workdir: Workdir,
        clock: Clock,
        *,
        process: int,
        also: Callable[[], None] | None = None,
        seconds: float | None = None,
    ) -> None:
        self._workdir, self._clock, self._process, self._also = workdir, clock, process, also
        self._seconds = seconds or (REMOTE_SECONDS if workdir.remote else LOCAL_SECONDS)
        self._name = f"{FOLDER}/{process:05d}.json"
        self._written: dict[str, object] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._write(state="finished" if kind is None else "stopped")

    def _beat(self) -> None:
        while True:
            self._write(state="running")
            if self._also:
                with contextlib.suppress(Exception):
                    self._also()
            if self._ended.wait(self._seconds):
                return

    def _write(self, *, state: str) -> None:
        activity, since = self._clock.now()
        said = {
            "process": self._process,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "state": state,
            "step": self._clock.step,
            "doing": activity,
            "since": datetime.datetime.fromtimestamp(since, datetime.UTC).isoformat(timespec="seconds"),
        }
        if said == self._written:
            return
        # An unwritable heartbeat must not stop a run; the next checkpoint reports a full disk.
        with contextlib.suppress(Exception):
            self._workdir.write_text(self._name, json.dumps(said) + "\n")
            self._written = said
