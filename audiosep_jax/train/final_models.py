"""The models that a run writes: the best by validation, the final one, and one whose loss was not finite."""

import json
from typing import Any, NoReturn

import jax
import numpy as np

from audiosep_jax.checkpoints import folder
from audiosep_jax.config import ExperimentConfig
from audiosep_jax.errors import AudioSepError, TrainingError, listed
from audiosep_jax.models import separator
from audiosep_jax.train.spikes import examples
from audiosep_jax.train.step import StepMetrics
from audiosep_jax.train.workdir import Workdir
from audiosep_jax.utils.serialization import from_dict, to_dict
from data_pipelines.mixtures.pipeline import MixtureBatch

BEST, FINAL = "best", "checkpoint"
_RECORD = f"{BEST}/validation.json"


class FinalModels:
    """Writes models to the work directory, from the lead process; `first` is the step that it starts from."""

    def __init__(self, config: ExperimentConfig, workdir: Workdir, *, first: int, process: int) -> None:
        self._config, self._workdir, self._process = config, workdir, process
        self._best_sdri_db = self._best_so_far(first)

    def keep_best(self, variables: separator.Variables, means: dict[str, float], *, step: int) -> None:
        """Writes a model as the best one if its validation SDRi is the highest so far."""
        if means["sdri_db"] <= self._best_sdri_db:
            return
        self._best_sdri_db = means["sdri_db"]
        self.save(BEST, variables)
        if self._process == 0:
            record = {"step": step, "validation": means, "config": to_dict(self._config)}
            self._workdir.write_text(_RECORD, json.dumps(record, indent=2))

    def stop(
        self, variables: separator.Variables, step: int, metrics: StepMetrics, batch: MixtureBatch
    ) -> NoReturn:
        """Ends a run whose loss is not finite; writes the parameters and the batch of that step.

        Every process writes its own part of the batch: the lead to `batch.npz` and `batch.json`, the others
        to `batch_00001.npz` and so on.

        Raises:
          TrainingError: always; it names the step, the sound files and the folder.
        """
        name = f"failed_step_{step}"
        self.save(name, variables)
        part = "batch" if self._process == 0 else f"batch_{self._process:05d}"
        record = {
            "step": step,
            "loss": repr(float(metrics.loss)),
            "gradient_norm": repr(float(metrics.gradient_norm)),
            "examples": examples(batch),
        }
        with self._workdir.written(name) as place:
            place.mkdir(exist_ok=True)
            np.savez(place / f"{part}.npz", **batch.arrays)  # pyright: ignore[reportArgumentType]
            (place / f"{part}.json").write_text(json.dumps(record, indent=2), "utf-8")
        files = sorted({file for files in batch.ids for file in files})
        whose = "its batch held" if jax.process_count() == 1 else "this process's part of its batch held"
        raise TrainingError(
            f"the loss of step {step} is not finite (loss {float(metrics.loss)}, gradient norm "
            f"{float(metrics.gradient_norm)}), training stopped; {whose} {listed(files)}; the parameters "
            f"before it and the batch are in {self._workdir.path / name}."
        )

    def save(self, name: str, variables: separator.Variables) -> None:
        """Writes a model to the folder `name`."""
        if self._process == 0:
            with self._workdir.written(name) as place:
                folder.save(place, self._config, jax.device_get(variables))

    def _best_so_far(self, first: int) -> float:
        """Returns the best validation SDRi before the step that this process starts from."""
        try:
            best: Any = json.loads(self._workdir.read_text(_RECORD) or "{}")
            if best["step"] <= first and from_dict(ExperimentConfig, best["config"]) == self._config:
                return float(best["validation"]["sdri_db"])
        except (OSError, ValueError, KeyError, TypeError, AudioSepError):
            pass  # without a usable record, the next model is the best so far
        return -float("inf")
