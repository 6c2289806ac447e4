"""The training loop, in one fixed order: evaluate the old state, save, take the batch, step, log."""

import collections
import contextlib
import dataclasses
import os
import time
from collections.abc import Iterator

import jax
import numpy as np
from etils import epath
from jax.sharding import Mesh

from audiosep_jax.config import ExperimentConfig
from audiosep_jax.errors import AudioSepError, TrainingError, shown
from audiosep_jax.train import distributed
from audiosep_jax.train import mesh as meshes
from audiosep_jax.train import state as states
from audiosep_jax.train.checkpoint import RunCheckpoints
from audiosep_jax.train.final_models import FINAL, FinalModels
from audiosep_jax.train.first_state import first_state, replicate, state_like
from audiosep_jax.train.goodput import Clock, DeviceClock, Goodput
from audiosep_jax.train.heartbeat import Heartbeat
from audiosep_jax.train.optimizer import make_optimizer, make_schedule
from audiosep_jax.train.preemption import noted_preemption
from audiosep_jax.train.profiling import Profiling
from audiosep_jax.train.progress import RunProgress
from audiosep_jax.train.run_lock import only_run_in
from audiosep_jax.train.setup import LoadStep, compiled_step, open_data
from audiosep_jax.train.spikes import FILE as SPIKES_FILE
from audiosep_jax.train.spikes import StepWatch
from audiosep_jax.train.state import TrainState
from audiosep_jax.train.step import StepMetrics
from audiosep_jax.train.validation import Validation
from audiosep_jax.train.workdir import Workdir
from audiosep_jax.train.writers import JsonLines, MetricWriter
from data_pipelines.mixtures.pipeline import MixtureBatch, MixturePipeline

Waiting = collections.deque[tuple[int, StepMetrics, MixtureBatch]]
"""Steps whose metrics have not been read yet, oldest first."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainResult:
    """The result of a finished run.

    Attributes:
      state: after the last step.
      checkpoint: folder with the final model, in the work directory.
      validation_sdri_db: of the final model; None without validation clips.
    """

    state: TrainState
    checkpoint: epath.Path
    validation_sdri_db: float | None


def train(
    config: ExperimentConfig,
    workdir: str | os.PathLike[str],
    *,
    resume: bool = True,
    load_step: LoadStep = compiled_step,
) -> TrainResult:
    """Trains until `config.train.steps`, from the newest checkpoint of `workdir` if it has one.

    Every process of the run calls it with the same arguments. Each reads its part of the data; the lead
    process writes the files that exist once per run.

    Args:
      config: the experiment.
      workdir: a folder that all processes reach, or `gs://…`; docs/running.md lists its files.
      resume: False refuses a work directory that already has a checkpoint.
      load_step: returns the step; by default it is compiled here, before the first batch.

    Raises:
      AudioSepError: the data, the config or the work directory cannot be used, or a loss is not finite.
      Stopped: a signal came, and the state has been saved.
    """
    clock = Clock()
    mesh = meshes.make_mesh(config.mesh)
    meshes.check_batch_size(config.train.batch_size, mesh, microbatches=config.execution.microbatches)
    place = Workdir(workdir)
    lead = distributed.is_lead()
    with only_run_in(place.path) if lead else contextlib.nullcontext():
        data = open_data(config, place, mesh)
        checkpoints = RunCheckpoints(place.path, config)
        optimizer = make_optimizer(config.optimizer, config.train.steps)
        if checkpoints.latest_step() is None:
            state, first = first_state(config, optimizer, mesh), 0
        elif resume:
            with clock.doing("restore"):
                state, first = checkpoints.restore(state_like(config, optimizer, mesh))
        else:
            raise TrainingError(f"{place.path} already holds a run: choose another --workdir, or resume it.")
        run = _Run(config, place, mesh, *data, checkpoints, clock, first, load_step)
        with run.files, jax.set_mesh(mesh):
            return run.to_the_end(state)


class _Run:
    """The part of a run in this process, from step `first` on."""

    def __init__(
        self,
        config: ExperimentConfig,
        workdir: Workdir,
        mesh: Mesh,
        pipeline: MixturePipeline,
        validation: Validation | None,
        checkpoints: RunCheckpoints,
        clock: Clock,
        first: int,
        load_step: LoadStep,
    ) -> None:
        self.config, self.workdir, self.mesh, self.load_step = config, workdir, mesh, load_step
        self.pipeline, self.validation = pipeline, validation
        self.checkpoints, self.clock, self.first = checkpoints, clock, first
        train, process = config.train, jax.process_index()
        self.lead = distributed.is_lead()
        self.schedule = make_schedule(config.optimizer, train.steps)
        self.device = DeviceClock()
        self.models = FinalModels(config, workdir, first=first, process=process)
        self.goodput = Goodput(workdir, clock, first=first, steps=train.steps) if self.lead else None
        self.heartbeat = Heartbeat(
            workdir, clock, process=process, also=self.goodput.write if self.goodput else None
        )
        self.profiling = Profiling(workdir, train.profile_steps, total=train.steps, process=process)
        self.writer = MetricWriter(workdir, start_step=first) if self.lead else None
        spikes = SPIKES_FILE if self.lead else SPIKES_FILE.replace(".", f"_{process:05d}.")
        self.spikes = JsonLines(workdir, spikes, start_step=first, counted=0)
        self.progress = RunProgress(
            train.steps,
            first,
            train.batch_size,
            clock=clock,
            device=self.device,
            modalities=self.pipeline.modalities,
            quiet=not self.lead,
        )
        self.files = contextlib.ExitStack()
        for close in (workdir.wait, self.spikes.close, self.writer and self.writer.close, self.device.close):
            if close:
                self.files.callback(close)

    def to_the_end(self, state: TrainState) -> TrainResult:
        train = self.config.train
        self.watch = StepWatch(
            self.spikes, deviations=train.spike_deviations, skipped=int(jax.device_get(state.skipped))
        )
        waiting: Waiting = collections.deque()
        with noted_preemption() as stop_at, self.heartbeat, self.profiling, self.progress:
            batches = iter(self.pipeline.batches(start_step=self.first, stop_step=train.steps))
            if self.first < train.steps:
                batches.start_prefetch()  # while the step is compiled
                with self.clock.doing("compile"):
                    self.step = self.load_step(self.config, self.mesh)
            self.clock.begin("host")
            self.progress.begin()
            for step in range(self.first, train.steps):
                self.clock.step = step
                if stop_at(step):
                    self._log(state, waiting)
                    self._save(state, step)
                    self._close()
                    raise stop_at.stopped()
                if train.evaluate_every and step % train.evaluate_every == 0 and step > self.first:
                    self._log(state, waiting)
                    self._evaluate(state, step)
                if self.checkpoints.due(step) and step > self.first:
                    # The log of all steps before a checkpoint is on disk before the checkpoint.
                    self._log(state, waiting)
                    self._save(state, step)
                batch = self._next_batch(batches, step)
                state, metrics = self._take(state, step, batch)
                waiting.append((step, metrics, batch))
                # Metrics are read one step late, so that the device never waits for the host.
                self._log(state, waiting, keep=1)
            self._log(state, waiting)
            self.clock.step = train.steps
            self._save(state, train.steps)
            sdri_db = self._evaluate(state, train.steps)
            delivered = replicate(self.mesh, state.delivered)
            with self.clock.doing("save"):
                self.models.save(FINAL, delivered)
            self._close(finished=True)
        return TrainResult(state=state, checkpoint=self.workdir.path / FINAL, validation_sdri_db=sdri_db)

    def _next_batch(self, batches: Iterator[MixtureBatch], step: int) -> MixtureBatch:
        """Waits for a batch; an error of a reading thread is raised here."""
        with self.clock.doing("data"):
            try:
                return next(batches)
            except AudioSepError:
                raise
            except (Exception, SystemExit) as error:
                said = shown(error) or type(error).__name__
                raise TrainingError(
                    f"the batch of step {step} cannot be read ({type(error).__name__}: {said}): check that "
                    "this machine can read the datasets, and start the same command again."
                ) from error

    def _take(self, state: TrainState, step: int, batch: MixtureBatch) -> tuple[TrainState, StepMetrics]:
        """Dispatches one step to the device; the guard forbids implicit transfers."""
        self.profiling.before(step)
        with jax.transfer_guard("disallow"), jax.profiler.StepTraceAnnotation("train", step_num=step):
            arrays = meshes.put_batch(
                self.mesh, batch.arrays, microbatches=self.config.execution.microbatches
            )
            dispatched = time.perf_counter()
            state, metrics = self.step(state, arrays)
        self.device.dispatched(dispatched, metrics.loss)
        self.profiling.after(step, metrics.loss)
        return state, metrics

    def _log(self, state: TrainState, waiting: Waiting, *, keep: int = 0) -> None:
        """Logs the waiting steps except the `keep` newest."""
        train = self.config.train
        while len(waiting) > keep:
            step, metrics, batch = waiting[0]
            with self.clock.doing("device"):
                metrics = jax.device_get(metrics)
            if metrics.failed_step != states.NEVER:
                variables = replicate(self.mesh, state.variables)
                self._close()
                self.models.stop(variables, step, metrics, batch)
            if self.watch.look(step, metrics, batch):
                self.progress.stepped(step, float(metrics.loss), float(metrics.gradient_norm), batch.modality)
            else:
                self.progress.skipped(step)
                if self.goodput:
                    self.goodput.skipped(self.device.last_seconds)
            if (step + 1) % train.log_every == 0 or step + 1 == train.steps:
                scalars = self.progress.summary(step + 1)
                updates = np.int32(step - self.watch.skipped)  # the optimizer does not count skipped steps
                scalars["learning_rate"] = float(jax.device_get(self.schedule(updates)))
                if train.on_non_finite == "skip":
                    scalars["skipped"] = self.watch.skipped
                if self.writer:
                    self.writer.scalars(step + 1, scalars)
            waiting.popleft()

    def _save(self, state: TrainState, step: int) -> None:
        with self.progress.doing("save"):
            self.checkpoints.save(state, step=step)
            self.spikes.copy_later()
            if self.writer:
                self.writer.copy_later()
        if self.goodput:
            self.goodput.saved(step)

    def _evaluate(self, state: TrainState, step: int) -> float | None:
        if self.validation is None:
            return None
        with self.progress.doing("validation"):
            delivered = replicate(self.mesh, state.delivered)
            means = self.validation.measure(delivered).means()
            if self.writer:
                self.writer.scalars(step, {f"validation/{name}": value for name, value in means.items()})
            self.validation.write_examples(delivered, self.writer, step=step)
            self.models.keep_best(delivered, means, step=step)
        self.progress.note(
            f"step {step}: validation SDRi {means['sdri_db']:.2f} dB, SI-SDR {means['si_sdr_db']:.2f} dB"
        )
        return means["sdri_db"]

    def _close(self, *, finished: bool = False) -> None:
        """Waits for the checkpoints, and writes the goodput."""
        with self.progress.doing("save"):
            self.checkpoints.close()
        if self.goodput:
            self.goodput.write(finished=finished)
            self.progress.note(self.goodput.line())
