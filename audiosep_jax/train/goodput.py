"""The time of a run: what the loop and the device do, and the share of all restarts that trained."""

import contextlib
import json
import queue
import threading
import time
from collections.abc import Iterator
from typing import Any, Literal, get_args

import jax

from audiosep_jax.train.workdir import Workdir

FILE = "goodput.json"
_KEPT_STEPS = 100

Activity = Literal["start", "restore", "compile", "data", "host", "device", "save", "validation"]
"""Activity of the loop. "data" waits for a batch, "device" for a result; "host" is the rest of a step."""


class Clock:
    """Measures the activities of the loop, one at a time, and holds its step. Other threads may read it."""

    def __init__(self) -> None:
        self.step = 0
        self._lock = threading.Lock()
        self._seconds: dict[Activity, float] = dict.fromkeys(get_args(Activity), 0.0)
        self._activity: Activity = "start"
        self._since, self._moved = time.perf_counter(), time.time()

    def begin(self, activity: Activity) -> Activity:
        """Starts an activity and ends the one before, which it returns."""
        with self._lock:
            now = time.perf_counter()
            self._seconds[self._activity] += now - self._since
            before, self._activity = self._activity, activity
            self._since, self._moved = now, time.time()
            return before

    @contextlib.contextmanager
    def doing(self, activity: Activity) -> Iterator[None]:
        """Counts a block as another activity."""
        before = self.begin(activity)
        try:
            yield
        finally:
            self.begin(before)

    def seconds(self) -> dict[Activity, float]:
        """Returns the seconds of each activity in this process, the current one included."""
        with self._lock:
            running = time.perf_counter() - self._since
            seconds = self._seconds.copy()
            seconds[self._activity] += running
            return seconds

    def now(self) -> tuple[Activity, float]:
        """Returns the current activity and the time (Unix, in seconds) at which it began."""
        with self._lock:
            return self._activity, self._moved


class DeviceClock:
    """Measures how long the device computes: a thread waits for the result of every step.

    A step begins when it is dispatched or when the step before has ended, whichever is later; it ends when
    its result is ready. Times are late by less than a millisecond, or by a few if Python is busy.
    `last_seconds` is the time of the newest finished step.
    """

    def __init__(self) -> None:
        self._steps: queue.SimpleQueue[tuple[float, jax.Array] | None] = queue.SimpleQueue()
        self._busy = self.last_seconds = 0.0
        self._thread = threading.Thread(target=self._watch, name="device clock", daemon=True)
        self._thread.start()

    def dispatched(self, at: float, result: jax.Array) -> None:
        """Notes a step, dispatched `at` a `time.perf_counter()`; its `result` must not be donated."""
        self._steps.put((at, result))

    def busy_seconds(self) -> float:
        """Returns how long the device has computed, in finished steps."""
        return self._busy

    def close(self) -> None:
        """Ends the thread after the steps that it knows."""
        self._steps.put(None)
        self._thread.join()

    def _watch(self) -> None:
        ended = 0.0
        while (step := self._steps.get()) is not None:
            at, result = step
            try:
                result.block_until_ready()
            except Exception:
                continue  # the loop reads the same result and raises
            now = time.perf_counter()
            self.last_seconds = now - max(at, ended)
            self._busy += self.last_seconds
            ended = now


class Goodput:
    """Sums the time of a run over its restarts, in `goodput.json`.

    This process starts from the step `first`; steps beyond it that an earlier process took are lost.
    """

    def __init__(self, workdir: Workdir, clock: Clock, *, first: int, steps: int) -> None:
        self._workdir, self._clock = workdir, clock
        self._writing = threading.Lock()
        self._finished = False
        before = _read(workdir)
        self._over = bool(before.get("finished")) and first >= steps
        self._began: float = before.get("began", time.time())
        self._starts: int = before.get("starts", 0) + 1
        self._earlier: dict[str, float] = dict(before.get("seconds", {}))
        trained = self._earlier.pop("train", 0.0)
        until = {int(step): seconds for step, seconds in before.get("trained_until", {}).items()}
        self._until = {step: seconds for step, seconds in until.items() if step <= first}
        self._trained = self._until[max(self._until)] if self._until else 0.0
        self._lost = self._earlier.pop("lost", 0.0) + trained - self._trained
        between = max(time.time() - before["updated"], 0.0) if "updated" in before else 0.0
        # The time between two processes ends when this one's clock began.
        between = max(between - sum(clock.seconds().values()), 0.0) if before else 0.0
        self._between = self._earlier.pop("between_starts", 0.0) + between

    def saved(self, step: int) -> None:
        """Notes that a restart resumes at `step`; call it when the steps before it are done."""
        until = self._until | {step: self._seconds()["train"]}
        # A new dictionary: another thread may be reading the old one.
        self._until = dict(sorted(until.items())[-_KEPT_STEPS:])

    def skipped(self, seconds: float) -> None:
        """Moves the time of a skipped step from trained to lost."""
        self._trained -= seconds
        self._lost += seconds

    def record(self) -> dict[str, Any]:
        """Returns the content of `goodput.json`: share, parts in seconds, and values for a restart."""
        seconds = self._seconds()
        wall = sum(seconds.values())
        return {
            "goodput": seconds["train"] / max(wall, 1e-9),
            "wall_seconds": wall,
            "seconds": seconds,
            "starts": self._starts,
            "step": self._clock.step,
            "finished": self._finished,
            "began": self._began,
            "updated": time.time(),
            "trained_until": {str(step): seconds for step, seconds in self._until.items()},
        }

    def write(self, *, finished: bool = False) -> None:
        """Writes `goodput.json`, except for a run that was finished before this process started."""
        with self._writing:
            self._finished |= finished
            if not self._over:
                self._workdir.write_text(FILE, json.dumps(self.record(), indent=2) + "\n")

    def line(self) -> str:
        """Returns one line for a person."""
        record = self.record()
        parts = sorted(record["seconds"].items(), key=lambda part: -part[1])
        said = ", ".join(f"{name.replace('_', ' ')} {value:.1f} s" for name, value in parts if value >= 0.05)
        times = f"{record['starts']} start{'s' * (record['starts'] > 1)}"
        return f"goodput {100 * record['goodput']:.1f} % of {record['wall_seconds']:.1f} s, {times}: {said}"

    def _seconds(self) -> dict[str, float]:
        """Returns all time of the run so far, in parts that do not overlap."""
        here = self._clock.seconds()
        others = {name: seconds for name, seconds in here.items() if name not in ("host", "device")}
        return {
            "train": self._trained + here["host"] + here["device"],
            "lost": self._lost,
            "between_starts": self._between,
            **{name: self._earlier.get(name, 0.0) + seconds for name, seconds in others.items()},
        }


def _read(workdir: Workdir) -> dict[str, Any]:
    """Returns the record of earlier processes; empty if it is damaged, which must not stop a run."""
    try:
        record = json.loads(workdir.read_text(FILE) or "{}")
        numbers = [*record["seconds"].values(), *record["trained_until"].values()]
        numbers += [record["began"], record["updated"], record["starts"], *map(int, record["trained_until"])]
        return record if all(isinstance(number, float | int) for number in numbers) else {}
    except Exception:  # an unreadable file must not stop it either
        return {}
