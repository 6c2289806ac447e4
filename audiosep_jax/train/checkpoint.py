"""Orbax checkpoints of a run: the state, the data position, and the config they belong to."""

from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from audiosep_jax.config import ExperimentConfig
from audiosep_jax.errors import AudioSepError
from audiosep_jax.serialization import to_dict
from audiosep_jax.train.state import TrainState

# Fields that may change when a run is taken up again: they do not touch what a step computes.
_FREE_FIELDS = {
    "data": {"read_threads", "prefetch"},
    "train": {
        "log_every",
        "save_every",
        "evaluate_every",
        "keep_checkpoints",
        "validation_mixtures",
        "audio_examples",
    },
}


class RunCheckpoints:
    """The checkpoints in a run's work directory. A half-written one is never taken for whole.

    Args:
      workdir: of the run; checkpoints lie in its folder `checkpoints`.
      config: of the run; it is stored with every checkpoint and compared when one is restored.
    """

    def __init__(self, workdir: str | Path, config: ExperimentConfig) -> None:
        self._config = config
        self._folder = Path(workdir).absolute() / "checkpoints"
        options = ocp.CheckpointManagerOptions(max_to_keep=config.train.keep_checkpoints, create=True)
        self._manager = ocp.CheckpointManager(
            self._folder, options=options, item_names=("state", "data", "config")
        )

    def latest_step(self) -> int | None:
        """Returns the step of the newest whole checkpoint."""
        return self._manager.latest_step()

    def save(self, state: TrainState, *, step: int) -> None:
        """Starts to write the state before step `step`; returns as soon as it has been copied."""
        if step in self._manager.all_steps():
            return
        items = {
            "state": ocp.args.StandardSave(state),  # pyright: ignore[reportCallIssue]
            "data": ocp.args.JsonSave({"step": step, "seed": self._config.data.seed}),  # pyright: ignore[reportCallIssue]
            "config": ocp.args.JsonSave(to_dict(self._config)),  # pyright: ignore[reportCallIssue]
        }
        self._manager.save(step, args=ocp.args.Composite(**items))

    def restore(self, like: TrainState) -> tuple[TrainState, int]:
        """Returns the newest state and the step that the data go on with.

        Args:
          like: a state of the same shapes, with the shardings that the restored arrays shall have.

        Raises:
          AudioSepError: the run in this folder has another config, or the checkpoint cannot be read.
        """
        step = self.latest_step()
        try:
            stored = self._manager.restore(step, args=ocp.args.Composite(config=ocp.args.JsonRestore()))  # pyright: ignore[reportCallIssue]
            self._compare(stored["config"])
            abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
            items = {
                "state": ocp.args.StandardRestore(abstract),  # pyright: ignore[reportCallIssue]
                "data": ocp.args.JsonRestore(),
            }
            restored = self._manager.restore(step, args=ocp.args.Composite(**items))
        except (ValueError, KeyError, OSError) as error:
            raise AudioSepError(
                f"checkpoint {self._folder / str(step)} cannot be read: {error}. Delete that folder to go on "
                "from the one before, or choose another --workdir."
            ) from error
        return restored["state"], int(restored["data"]["step"])

    def close(self) -> None:
        """Waits until everything is on disk."""
        self._manager.wait_until_finished()
        self._manager.close()

    def _compare(self, stored: dict[str, Any]) -> None:
        now, defaults = to_dict(self._config), to_dict(ExperimentConfig())

        def before(part: str, name: str) -> Any:
            # A field that came later had its default: it stands for what was done before there was a choice.
            return stored.get(part, {}).get(name, defaults[part][name])

        differences = [
            f"{part}.{name} was {before(part, name)!r} and is {value!r}"
            for part, fields in now.items()
            if isinstance(fields, dict)
            for name, value in fields.items()
            if name not in _FREE_FIELDS.get(part, ()) and before(part, name) != value
        ]
        if differences:
            raise AudioSepError(
                f"{self._folder.parent} holds a run of another config ({'; '.join(differences)}): choose "
                "another --workdir, or the config it was started with."
            )
