"""Orbax checkpoints of a run: state, data position and config; when they are due; which ones stay."""

import contextlib
import dataclasses
import functools
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from jax.experimental import multihost_utils

from audiosep_jax.config import ExperimentConfig
from audiosep_jax.errors import AudioSepError, CheckpointError, TransientError, shown
from audiosep_jax.train.run_config import refuse_other_runs
from audiosep_jax.train.run_lock import check_held
from audiosep_jax.train.state import TrainState
from audiosep_jax.train.storage import is_remote, work_directory
from audiosep_jax.utils.serialization import to_dict

FOLDER = "checkpoints"
_NONE = -1
_OF_PROCESSES = re.compile(r"Gloo|NCCL|[Bb]arrier|[Hh]eartbeat|coordination", re.ASCII)
"""Words of an error about other processes of the run rather than about storage."""
_LATER_FIELDS = frozenset({"skipped"})
"""Fields that older checkpoints lack; a restored state keeps its own value of them."""


Seconds = Callable[[], float]
"""A clock: seconds since some moment."""


def from_lead(value: int) -> int:
    """Returns the lead process's number in every process; all call it at the same place."""
    if jax.process_count() == 1:
        return value
    with jax.transfer_guard("allow"):
        return int(multihost_utils.broadcast_one_to_all(np.int32(value)))


class SaveInterval:
    """Tells when an interval has passed, by the clock of the lead process; one of 0 minutes never does.

    Clocks differ, and hosts finish a step at different times, so the lead decides for all. Its broadcast
    waits for the device, so it is rare: after half of the steps that fit into the rest of the interval, then
    half of what is left, and so on.
    """

    def __init__(self, minutes: float, *, step: int, clock: Seconds = time.monotonic) -> None:
        self._seconds = 60 * minutes
        self._clock = clock
        self.restart(step)

    def restart(self, step: int) -> None:
        """Begins a new interval at `step`."""
        self._started = self._read_at = self._clock()
        self._read_step = step
        self._next_broadcast = step + 1

    def passed(self, step: int) -> bool:
        """Tells whether the interval has passed; every process calls it at every step."""
        if not self._seconds or step < self._next_broadcast:
            return False
        ahead = from_lead(self._steps_to_wait(step))
        self._next_broadcast = step + ahead
        return ahead == 0

    def _steps_to_wait(self, step: int) -> int:
        """Returns 0 if the interval has passed, else the steps until the next broadcast."""
        now = self._clock()
        left = self._seconds - (now - self._started)
        seconds_per_step = (now - self._read_at) / (step - self._read_step)
        self._read_at, self._read_step = now, step
        if left <= 0:
            return 0
        return max(1, int(min(left / 2 / max(seconds_per_step, 1e-6), 1e6)))


class RunCheckpoints:
    """The checkpoints in the folder `checkpoints` of a work directory; a half-written one does not count.

    Every process of a run makes this object and calls the same methods at the same steps. The lead process
    lists, decides and deletes; each process writes its part. The config is stored in every checkpoint.
    """

    def __init__(
        self, workdir: str | os.PathLike, config: ExperimentConfig, *, clock: Seconds = time.monotonic
    ) -> None:
        _quiet_orbax()
        self._config = config
        self._folder = work_directory(workdir) / FOLDER
        self._saver = ocp.AsyncCheckpointer(ocp.CompositeCheckpointHandler())
        steps = [step for step, _ in self._whole()] if jax.process_index() == 0 else []
        newest = from_lead(max(steps, default=_NONE))
        self._newest = None if newest == _NONE else newest
        self._interval = SaveInterval(config.train.save_minutes, step=max(newest, 0), clock=clock)
        self._finishing: threading.Thread | None = None
        self._failure: tuple[int, Exception] | None = None

    def latest_step(self) -> int | None:
        """Returns the step of the newest checkpoint, whole or being written."""
        return self._newest

    def due(self, step: int) -> bool:
        """Tells whether to save before `step`, by `save_every`, `keep_every` or `save_minutes`.

        Every process calls it at every step and gets the same answer.

        Raises:
          AudioSepError: an earlier checkpoint could not be written, or another process of the run is gone.
        """
        self._raise_failure()
        if step == (self._newest or 0):
            return False
        train = self._config.train
        by_step = step % train.save_every == 0 or bool(train.keep_every and step % train.keep_every == 0)
        return by_step or self._interval.passed(step)

    def save(self, state: TrainState, *, step: int) -> None:
        """Starts to write the state before step `step`; returns as soon as it has been copied.

        Raises:
          AudioSepError: this or an earlier checkpoint cannot be written, or a later run has taken over.
        """
        self._wait()
        if step == self._newest:
            return
        if jax.process_index() == 0:
            check_held(self._folder.parent)
        items = {
            "state": ocp.args.StandardSave(_fields(state)),  # pyright: ignore[reportCallIssue]
            "data": ocp.args.JsonSave({"step": step, "seed": self._config.data.seed}),  # pyright: ignore[reportCallIssue]
            "config": ocp.args.JsonSave(to_dict(self._config)),  # pyright: ignore[reportCallIssue]
        }
        try:
            with jax.transfer_guard("allow"):
                # `force` replaces the half-written checkpoint of a killed run.
                self._saver.save(self._folder / str(step), args=ocp.args.Composite(**items), force=True)
        except Exception as error:  # of Orbax, TensorStore or the library of the bucket
            self._failure = (step, error)
            self._raise_failure()
        self._newest = step
        self._interval.restart(step)
        self._finishing = threading.Thread(target=self._finish, args=(step,), name="checkpoint")
        self._finishing.start()

    def restore(self, like: TrainState) -> tuple[TrainState, int]:
        """Returns the newest state, and the next step of the data.

        `like` has its shapes, and the shardings of the restored arrays. They may differ from those of the
        save, in devices and in the number of processes.

        Raises:
          AudioSepError: the run in this folder has another config, or the checkpoint cannot be read.
        """
        path = self._folder / str(self._newest)
        reader = ocp.Checkpointer(ocp.CompositeCheckpointHandler())
        try:
            records = reader.restore(
                path,
                args=ocp.args.Composite(config=ocp.args.JsonRestore(), data=ocp.args.JsonRestore()),  # pyright: ignore[reportCallIssue]
            )
            refuse_other_runs(self._folder.parent, was=records["config"], config=self._config)
            tree = ocp.StandardCheckpointHandler().metadata(path / "state").tree
            wanted = {
                name: jax.tree.map(ocp.utils.to_shape_dtype_struct, value)
                for name, value in _fields(like).items()
                if name in tree or name not in _LATER_FIELDS
            }
            stored = reader.restore(path, args=ocp.args.Composite(state=ocp.args.StandardRestore(wanted)))  # pyright: ignore[reportCallIssue]
            state = dataclasses.replace(like, **stored["state"])
            step = int(records["data"]["step"])
            if not step == int(state.step) == self._newest:
                raise ValueError(f"its data are at step {step}, its state at step {int(state.step)}")
        except AudioSepError:
            raise
        except Exception as error:  # every reader raises its own kinds for damage
            raise CheckpointError(
                f"checkpoint {path} cannot be read: {_cause(error)}. Delete that folder to resume from the "
                "checkpoint before, or choose another --workdir."
            ) from error
        return state, step

    def close(self) -> None:
        """Waits until everything is on disk; raises CheckpointError if it could not be written."""
        with contextlib.closing(self._saver):
            self._wait()

    def _wait(self) -> None:
        if self._finishing is not None:
            self._finishing.join()
            self._finishing = None
        self._raise_failure()

    def _raise_failure(self) -> None:
        if self._failure is None:
            return
        step, error = self._failure
        if jax.process_count() > 1 and _OF_PROCESSES.search(str(error)):
            raise TransientError(
                f"the checkpoint of step {step} is not finished, because another process of the run is "
                "gone: start all processes again."
            ) from error
        before = max((step for step, _ in self._whole()), default=None)
        then = "there is no earlier checkpoint"
        if before is not None:
            then = f"it resumes from the checkpoint of step {before}"
        raise CheckpointError(
            f"the checkpoint of step {step} could not be written to {self._folder}: {_cause(error)}. Make "
            f"room or repair the storage, and start the same command again: {then}."
        ) from error

    def _finish(self, step: int) -> None:
        """Waits in a thread for the write, then deletes old checkpoints."""
        try:
            self._saver.wait_until_finished()
            if jax.process_index() == 0:
                self._delete_old()
        except Exception as error:
            self._failure = (step, error)

    def _delete_old(self) -> None:
        """Deletes checkpoints that are neither recent nor kept for ever, and half-written ones."""
        train = self._config.train
        whole = dict(self._whole())
        recent = sorted(whole)[-train.keep_checkpoints :]
        for step, path in whole.items():
            if step not in recent and not (train.keep_every and step % train.keep_every == 0):
                _delete(path)
        for path in self._folder.iterdir():
            if path.name.partition(".")[0].isdigit() and path not in whole.values():
                path.rmtree(missing_ok=True)

    def _whole(self) -> Iterator[tuple[int, epath.Path]]:
        """Yields step and folder of every finished checkpoint."""
        if not self._folder.exists():
            return
        for path in self._folder.iterdir():
            if path.name.isdigit() and ocp.utils.is_checkpoint_finalized(path):
                yield int(path.name), path


def _fields(state: TrainState) -> dict[str, Any]:
    """Returns the stored fields of a state: those that are not None."""
    fields = {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}
    return {name: value for name, value in fields.items() if value is not None}


def _cause(error: Exception) -> str:
    """Returns an error in one line; a long one keeps its beginning (a file) and its end (the cause)."""
    said = " ".join(str(error).split())
    if len(said) > 500:
        said = f"{said[:200]} … {said[-250:]}"
    return shown(said, longest=500)


def _delete(path: epath.Path) -> None:
    """Deletes a checkpoint so that a half-deleted one never counts."""
    if is_remote(path):
        (path / ocp.path.atomicity.COMMIT_SUCCESS_FILE).unlink(missing_ok=True)
    else:
        path = path.rename(path.with_name(f"{path.name}.deleted"))
    path.rmtree(missing_ok=True)


def _quiet_orbax() -> None:
    """Drops log lines of Orbax and asyncio about errors that are raised anyway, and their consequences."""
    for name in ("absl", "asyncio"):
        logging.getLogger(name).addFilter(_is_news)
    if getattr(sys.unraisablehook, "func", None) is not _unraisable:
        sys.unraisablehook = functools.partial(_unraisable, sys.unraisablehook)


def _is_news(record: logging.LogRecord) -> bool:
    said = record.getMessage()
    # Of many writes that fail together one is raised, and asyncio logs the others.
    abandoned = said.startswith("Future exception was never retrieved") or (
        said.startswith("Task exception was never retrieved") and "orbax" in said
    )
    return not (abandoned or (record.exc_info and "orbax" in record.pathname))


def _unraisable(usual, unraisable) -> None:
    # If one of many reads or writes fails, the event loop closes before the others return.
    error = unraisable.exc_value
    closed = isinstance(error, RuntimeError) and str(error) == "Event loop is closed"
    if not closed and not isinstance(getattr(error, "__cause__", None), GeneratorExit):
        usual(unraisable)
