"""A JAX profile of some steps: those of the config, or the next few after SIGUSR1."""

import signal
import threading
from types import FrameType
from typing import Self

import jax

from audiosep_jax.errors import ConfigError
from audiosep_jax.train.workdir import Workdir

FOLDER = "profile"
STEPS_AT_A_SIGNAL = 5


class Profiling:
    """A context manager around the loop; writes TensorBoard's profile files to `profile/`.

    Every process profiles its own devices; all but the lead write to `profile/process_00001` and so on.
    SIGUSR1 to a process profiles its next `STEPS_AT_A_SIGNAL` steps. `steps` is the first and the last step
    to profile, or (0, 0) for none, and `total` the number of steps of the run.

    Raises:
      ConfigError: the run ends before the first of these steps.
    """

    def __init__(self, workdir: Workdir, steps: tuple[int, int], *, total: int, process: int) -> None:
        if steps[0] >= total:
            raise ConfigError(
                f"train.profile_steps is {steps}, but the steps of the run are 0 to {total - 1}: choose some."
            )
        self._workdir = workdir
        self._first, self._last = steps if steps != (0, 0) else (total, total)
        self._name = FOLDER if process == 0 else f"{FOLDER}/process_{process:05d}"
        self._until: int | None = None
        self._asked = False
        self._listens = False

    def __enter__(self) -> Self:
        usual = signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
        self._listens = usual and threading.current_thread() is threading.main_thread()
        if self._listens:
            signal.signal(signal.SIGUSR1, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        if self._listens:
            signal.signal(signal.SIGUSR1, signal.SIG_DFL)
        self._stop()

    def before(self, step: int) -> None:
        """Begins a profile if one is due."""
        if self._until is not None:
            return
        if self._first <= step <= self._last:
            self._until = self._last
        elif self._asked:
            self._until = step + STEPS_AT_A_SIGNAL - 1
        else:
            return
        self._asked = False
        jax.profiler.start_trace(self._workdir.local / self._name)

    def after(self, step: int, result: jax.Array) -> None:
        """Ends the profile when its last step has been computed."""
        if self._until is not None and step >= self._until:
            result.block_until_ready()
            self._stop()

    def _stop(self) -> None:
        if self._until is not None:
            self._until = None
            jax.profiler.stop_trace()
            self._workdir.copy_later(self._name)

    def _ask(self, _signal: int, _frame: FrameType | None) -> None:
        self._asked = True
