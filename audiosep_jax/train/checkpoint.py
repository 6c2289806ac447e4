"""Orbax checkpoints of a run: the state, the data position, and the config they belong to."""

import dataclasses
import os
import re
import threading
import time
from collections.abc import Iterator
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath

from audiosep_jax.config import ExperimentConfig
from audiosep_jax.errors import AudioSepError, CheckpointError, TransientError, shown
from audiosep_jax.train.orbax_noise import quiet_orbax
from audiosep_jax.train.run_config import refuse_other_runs
from audiosep_jax.train.run_lock import check_held
from audiosep_jax.train.save_interval import Clock, SaveInterval, from_lead
from audiosep_jax.train.state import TrainState
from audiosep_jax.train.storage import is_remote, work_directory
from audiosep_jax.utils.serialization import to_dict

FOLDER = "checkpoints"
_NONE = -1
_OTHERS = re.compile(r"Gloo|NCCL|[Bb]arrier|[Hh]eartbeat|coordination", re.ASCII)
"""What an error speaks of where not storage failed, but the talk between processes."""
_LATER_FIELDS = frozenset({"skipped"})
"""Fields of the state that came later; what an earlier checkpoint lacks is taken from the state it fills."""


class RunCheckpoints:
    """The checkpoints in a run's work directory. A half-written one is never taken for whole.

    Every process of a run makes one and calls the same methods at the same steps; the lead process lists,
    decides and deletes, all write their part.

    Args:
      workdir: of the run, here or in a bucket; checkpoints lie in its folder `checkpoints`.
      config: of the run; it is stored with every checkpoint and compared when one is restored.
      clock: seconds, for `train.save_minutes`.
    """

    def __init__(
        self, workdir: str | os.PathLike, config: ExperimentConfig, *, clock: Clock = time.monotonic
    ) -> None:
        quiet_orbax()
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
        """Returns the step of the newest checkpoint, which is whole or being written."""
        return self._newest

    def due(self, step: int) -> bool:
        """Whether to save before `step`, by `save_every`, `keep_every` or `save_minutes`.

        Every process asks at every step and gets the same answer.

        Raises:
          AudioSepError: an earlier checkpoint could not be written.
          TransientError: another process of the run is gone.
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
          AudioSepError: this or an earlier checkpoint cannot be written.
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
                # What a killed run left of the same step is no checkpoint and goes.
                self._saver.save(self._folder / str(step), args=ocp.args.Composite(**items), force=True)
        except Exception as error:  # of Orbax, TensorStore, and whatever reads and writes the bucket
            self._failure = (step, error)
            self._raise_failure()
        self._newest = step
        self._interval.restart(step)
        self._finishing = threading.Thread(target=self._finish, args=(step,), name="checkpoint")
        self._finishing.start()

    def restore(self, like: TrainState) -> tuple[TrainState, int]:
        """Returns the newest state and the step that the data go on with.

        Args:
          like: a state of the same shapes, with the shardings that the restored arrays shall have. They may
            be others than those it was saved with, on other devices of another number of processes.

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
                raise ValueError(f"its data go on with step {step}, its state with {int(state.step)}")
        except AudioSepError:
            raise
        except Exception as error:  # damage shows itself in as many ways as there are readers
            raise CheckpointError(
                f"checkpoint {path} cannot be read: {_cause(error)}. Delete that folder to go on from the "
                "one before, or choose another --workdir."
            ) from error
        return state, step

    def close(self) -> None:
        """Waits until everything is on disk.

        Raises:
          AudioSepError: it could not be written.
        """
        try:
            self._wait()
        finally:
            self._saver.close()

    def _wait(self) -> None:
        if self._finishing is not None:
            self._finishing.join()
            self._finishing = None
        self._raise_failure()

    def _raise_failure(self) -> None:
        if self._failure is None:
            return
        step, error = self._failure
        if jax.process_count() > 1 and _OTHERS.search(str(error)):
            raise TransientError(
                f"the checkpoint of step {step} was not finished, because another process of the run is "
                "gone: start all processes again."
            ) from error
        before = max((step for step, _ in self._whole()), default=None)
        then = "there is none before it" if before is None else f"the run goes on from that of step {before}"
        raise CheckpointError(
            f"the checkpoint of step {step} could not be written to {self._folder}: {_cause(error)}. Make "
            f"room or repair the storage, and start the same command again: {then}."
        ) from error

    def _finish(self, step: int) -> None:
        """Waits in a thread for what is being written, then deletes what need not stay."""
        try:
            self._saver.wait_until_finished()
            if jax.process_index() == 0:
                self._forget()
        except Exception as error:
            self._failure = (step, error)

    def _forget(self) -> None:
        """Deletes checkpoints that are neither recent nor kept for ever, and what killed runs left."""
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
        """The step and folder of every checkpoint that has been written to its end."""
        if not self._folder.exists():
            return
        for path in self._folder.iterdir():
            if path.name.isdigit() and ocp.utils.is_checkpoint_finalized(path):
                yield int(path.name), path


def _fields(state: TrainState) -> dict[str, Any]:
    """What is stored of a state: without what it does not keep."""
    fields = {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}
    return {name: value for name, value in fields.items() if value is not None}


def _cause(error: Exception) -> str:
    """What an error says, in one line: its beginning names a file, its end the cause."""
    said = " ".join(str(error).split())
    if len(said) > 500:
        said = f"{said[:200]} … {said[-250:]}"
    return shown(said, longest=500)


def _delete(path: epath.Path) -> None:
    """Deletes a checkpoint so that no moment shows half of one as whole."""
    if is_remote(path):
        (path / ocp.path.atomicity.COMMIT_SUCCESS_FILE).unlink(missing_ok=True)
    else:
        path = path.rename(path.with_name(f"{path.name}.deleted"))
    path.rmtree(missing_ok=True)
