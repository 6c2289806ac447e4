"""The training loop, in one fixed order: evaluate the old state, save, take the batch, step, log."""

import collections
import dataclasses
import json
import time
from pathlib import Path
from typing import NoReturn

import jax
import numpy as np
from jax.sharding import Mesh

from audiosep_jax.checkpoints import folder
from audiosep_jax.config import ExperimentConfig
from audiosep_jax.errors import AudioSepError
from audiosep_jax.evals.atomic import replacing
from audiosep_jax.models import separator
from audiosep_jax.query.cache import ConditionCache
from audiosep_jax.query.encoder import load_encoder
from audiosep_jax.serialization import from_dict, to_dict
from audiosep_jax.train import mesh as meshes
from audiosep_jax.train import state as states
from audiosep_jax.train.checkpoint import RunCheckpoints
from audiosep_jax.train.interrupt import noted_interrupts
from audiosep_jax.train.lock import only_run_in
from audiosep_jax.train.optimizer import make_optimizer, make_schedule
from audiosep_jax.train.progress import RunProgress
from audiosep_jax.train.state import TrainState
from audiosep_jax.train.step import StepMetrics, make_train_step
from audiosep_jax.train.supervision import make_supervision
from audiosep_jax.train.validation import Validation
from audiosep_jax.train.writers import MetricWriter
from data_pipelines.mixtures import MixtureBatch, MixturePipeline

Waiting = collections.deque[tuple[int, StepMetrics, MixtureBatch]]
"""Steps whose metrics have not been read yet, oldest first."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What a finished run leaves.

    Attributes:
      state: after the last step.
      checkpoint: folder with the final model.
      validation_sdri_db: of the final model; None without validation clips.
    """

    state: TrainState
    checkpoint: Path
    validation_sdri_db: float | None


def train(config: ExperimentConfig, workdir: str | Path, *, resume: bool = True) -> TrainResult:
    """Trains until `config.train.steps`, from the newest checkpoint of `workdir` where it has one.

    Args:
      config: the experiment.
      workdir: gets checkpoints, `metrics.jsonl`, TensorBoard files, the best model by validation SDRi
        (`best/`) and the final one (`checkpoint/`).
      resume: False refuses a work directory that already has a checkpoint.

    Raises:
      AudioSepError: the data, the config or the work directory cannot be used, or a loss was not finite.
    """
    workdir = Path(workdir)
    mesh = meshes.make_mesh()
    meshes.check_batch_size(config.train.batch_size, mesh)
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AudioSepError(f"work directory {workdir} cannot be made: {error}.") from error

    with only_run_in(workdir):
        return _train(config, workdir, mesh, resume=resume)


def _train(config: ExperimentConfig, workdir: Path, mesh: Mesh, *, resume: bool) -> TrainResult:
    encoder = load_encoder(config.query)
    if encoder.condition_size != config.model.condition_size:
        raise AudioSepError(
            f"query.encoder {config.query.encoder!r} gives {encoder.condition_size} numbers per caption, the "
            f"model takes {config.model.condition_size}: set model.condition_size={encoder.condition_size}."
        )
    conditions = ConditionCache(encoder, folder=workdir).conditions
    supervision = make_supervision(config, encoder, folder=workdir)
    pipeline = MixturePipeline(
        config.data,
        config.mixture,
        sample_rate_hz=config.model.sample_rate_hz,
        batch_size=config.train.batch_size,
        conditions=conditions,
        supervision=supervision,
    )
    validation = Validation(config, conditions, supervision) if config.data.validation else None

    checkpoints = RunCheckpoints(workdir, config)
    optimizer = make_optimizer(config.optimizer, config.train.steps)
    fresh = checkpoints.latest_step() is None
    initial = _initial_variables(config) if fresh else None
    state = states.create(config.model, optimizer, jax.random.key(config.train.seed), variables=initial)
    state = jax.device_put(state, meshes.replicated(mesh))
    first = 0
    if not fresh:
        if not resume:
            raise AudioSepError(f"{workdir} already holds a run: choose another --workdir, or resume it.")
        state, first = checkpoints.restore(state)

    with jax.set_mesh(mesh):
        run = _Run(config, workdir, mesh, optimizer, pipeline, validation, checkpoints, first)
        return run.to_the_end(state)


def _initial_variables(config: ExperimentConfig) -> separator.Variables | None:
    """The variables that `train.init_from` names."""
    if not config.train.init_from:
        return None
    start = folder.load(config.train.init_from)
    if separator.flat_shapes(start.config.model) != separator.flat_shapes(config.model):
        raise AudioSepError(
            f"train.init_from: the model in {config.train.init_from} has other tensors than this "
            "experiment's; take over its model config, or start from nothing."
        )
    return start.variables


class _Run:
    """One process's share of a run, from step `first` on."""

    def __init__(self, config, workdir, mesh, optimizer, pipeline, validation, checkpoints, first) -> None:
        self.config: ExperimentConfig = config
        self.workdir: Path = workdir
        self.sharding = meshes.batch_sharding(mesh)
        self.step = make_train_step(config, optimizer, mesh)
        self.schedule = make_schedule(config.optimizer, config.train.steps)
        self.pipeline: MixturePipeline = pipeline
        self.validation: Validation | None = validation
        self.checkpoints: RunCheckpoints = checkpoints
        self.first: int = first
        self.writer = MetricWriter(workdir, start_step=first)
        self.best_sdri_db = self._best_so_far()

    def to_the_end(self, state: TrainState) -> TrainResult:
        train = self.config.train
        waiting: Waiting = collections.deque()
        modalities = self.pipeline.modalities
        shown = RunProgress(train.steps, self.first, train.batch_size, modalities=modalities)
        with noted_interrupts() as interrupted, shown as progress:
            batches = iter(self.pipeline.batches(start_step=self.first, stop_step=train.steps))
            step = self.first
            try:
                for step in range(self.first, train.steps):
                    if train.evaluate_every and step % train.evaluate_every == 0 and step > self.first:
                        self._evaluate(state, step, progress)
                    if step % train.save_every == 0 and step > self.first:
                        # What is logged up to a checkpoint is on disk when the checkpoint is.
                        self._log(state, waiting, progress)
                        self.checkpoints.save(state, step=step)
                    started = time.perf_counter()
                    batch = next(batches)
                    progress.waited(time.perf_counter() - started)
                    with jax.transfer_guard("disallow"):
                        arrays = jax.device_put(batch.arrays, self.sharding)
                        state, metrics = self.step(state, arrays)
                    waiting.append((step, metrics, batch))
                    # Metrics are read one step late, so that the device never waits for the host.
                    self._log(state, waiting, progress, keep=1)
                    if interrupted():
                        raise KeyboardInterrupt
            except KeyboardInterrupt:
                self._log(state, waiting, progress)
                self.checkpoints.save(state, step=int(state.step))
                self._close()
                raise
            self._log(state, waiting, progress)
            self.checkpoints.save(state, step=train.steps)
            sdri_db = self._evaluate(state, train.steps, progress)
        self._close()
        final = self.workdir / "checkpoint"
        folder.save(final, self.config, jax.device_get(state.variables))
        return TrainResult(state=state, checkpoint=final, validation_sdri_db=sdri_db)

    def _log(self, state: TrainState, waiting: Waiting, progress: RunProgress, *, keep: int = 0) -> None:
        """Logs the steps that wait, but for the `keep` newest; a step waits until it has been logged."""
        while len(waiting) > keep:
            step, metrics, batch = waiting[0]
            metrics = jax.device_get(metrics)
            if metrics.failed_step != states.NEVER:
                self._stop(state, step, metrics, batch)
            progress.stepped(step, float(metrics.loss), float(metrics.gradient_norm), batch.modality)
            if (step + 1) % self.config.train.log_every == 0 or step + 1 == self.config.train.steps:
                scalars = progress.summary()
                scalars["learning_rate"] = float(jax.device_get(self.schedule(np.int32(step))))
                self.writer.scalars(step + 1, scalars)
            waiting.popleft()

    def _stop(self, state: TrainState, step: int, metrics: StepMetrics, batch: MixtureBatch) -> NoReturn:
        """Ends a run whose loss is not finite, and keeps all that is needed to see why."""
        place = self.workdir / f"failed_step_{step}"
        folder.save(place, self.config, jax.device_get(state.variables))
        np.savez(place / "batch.npz", **batch.arrays)  # pyright: ignore[reportArgumentType]
        record = {
            "step": step,
            "loss": repr(float(metrics.loss)),
            "gradient_norm": repr(float(metrics.gradient_norm)),
            "examples": [
                {"caption": caption, "modality": modality, "files": files}
                for caption, modality, files in zip(batch.captions, batch.modality, batch.ids, strict=True)
            ],
        }
        (place / "batch.json").write_text(json.dumps(record, indent=2), "utf-8")
        self._close()
        files = sorted({file for files in batch.ids for file in files})
        raise AudioSepError(
            f"the loss of step {step} is not finite (loss {float(metrics.loss)}, gradient norm "
            f"{float(metrics.gradient_norm)}), training stopped; its batch held {', '.join(files)}; the "
            f"parameters before it and the batch are in {place}."
        )

    def _evaluate(self, state: TrainState, step: int, progress: RunProgress) -> float | None:
        if self.validation is None:
            return None
        with progress.paused("validation"):
            means = self.validation.measure(state.variables).means()
            self.writer.scalars(step, {f"validation/{name}": value for name, value in means.items()})
            self.validation.write_examples(state.variables, self.writer, step=step)
        progress.note(
            f"step {step}: validation SDRi {means['sdri_db']:.2f} dB, SI-SDR {means['si_sdr_db']:.2f} dB"
        )
        if means["sdri_db"] > self.best_sdri_db:
            self.best_sdri_db = means["sdri_db"]
            folder.save(self.workdir / "best", self.config, jax.device_get(state.variables))
            record = {"step": step, "validation": means, "config": to_dict(self.config)}
            with replacing(self.workdir / "best" / "validation.json") as temporary:
                temporary.write_text(json.dumps(record, indent=2), "utf-8")
        return means["sdri_db"]

    def _best_so_far(self) -> float:
        """The best validation SDRi up to the step that this process starts from."""
        record = self.workdir / "best" / "validation.json"
        try:
            best = json.loads(record.read_text("utf-8"))
            if best["step"] <= self.first and from_dict(ExperimentConfig, best["config"]) == self.config:
                return float(best["validation"]["sdri_db"])
        except (OSError, ValueError, KeyError, TypeError, AudioSepError):
            pass  # no record, or one that is damaged: this run's next model is its best so far
        return -float("inf")

    def _close(self) -> None:
        self.checkpoints.close()
        self.writer.close()
