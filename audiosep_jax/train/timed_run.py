"""A training for a stated number of minutes on one device, from a pack that lies in the device's memory."""

import dataclasses
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from audiosep_jax.checkpoints import folder
from audiosep_jax.config import ExperimentConfig, MeshConfig
from audiosep_jax.errors import ConfigError, StorageError, TrainingError
from audiosep_jax.train import mesh as meshes
from audiosep_jax.train.checkpoint import RunCheckpoints
from audiosep_jax.train.first_state import first_state, state_like
from audiosep_jax.train.optimizer import make_optimizer
from audiosep_jax.train.preemption import noted_preemption
from audiosep_jax.train.run_lock import only_run_in
from audiosep_jax.train.state import NEVER
from audiosep_jax.train.timed_program import make_steps, make_validation
from audiosep_jax.utils.atomic import make_folder, replacing, write_json
from audiosep_jax.utils.journal import append_rows, read_rows
from data_pipelines.mixtures import device_draws, sound_pack
from data_pipelines.mixtures.clip_table import ClipTable
from data_pipelines.mixtures.sound_pack import SoundPack

METRICS_FILE = "metrics.jsonl"
BEST, FINAL = "best", "checkpoint"
_BEST_RECORD = "validation.json"
_WARMUP_SHARE = 0.03
_ABSENT_FROM = 0.6
_CALL_SECONDS = 1.0
_CALL_STEPS = 500
_MOST_SKIPPED = 25


@dataclasses.dataclass(frozen=True, kw_only=True)
class TimedResult:
    """The result of a finished run: steps, seconds of training, SDRi of the final model, and its folder."""

    steps: int
    seconds: float
    sdri_db: float
    checkpoint: Path


def rate_factor(share: float) -> float:
    """Returns the factor of the learning rate after a share of the time: linear warm-up, then a cosine to 0.

    Examples:
      >>> [round(rate_factor(share), 3) for share in (0, 0.015, 0.03, 0.515, 1)]
      [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    if share < _WARMUP_SHARE:
        return share / _WARMUP_SHARE
    passed = min(1.0, (share - _WARMUP_SHARE) / (1 - _WARMUP_SHARE))
    return 0.5 * (1 + math.cos(math.pi * passed))


def train(
    config: ExperimentConfig,
    pack: str | Path,
    workdir: str | Path,
    *,
    minutes: float,
    clock: Callable[[], float] = time.monotonic,
    say: Callable[[str], None] = lambda line: print(line, flush=True),
) -> TimedResult:
    """Trains until `minutes` have passed since the first step, over all starts of the run together.

    The learning rate follows the time: warm-up, then a cosine to zero. Absent queries come in the last part
    only. The schedule of the config and its number of steps are not used. Every `train.save_minutes` (0: only
    at the end) the model is validated and the state saved; a run that was killed resumes from there. SIGTERM
    and Ctrl-C save the state and the model at once.

    Args:
      config: `data.datasets` and `data.validation` become those of the pack.
      pack: a file of `data_pipelines.mixtures.sound_pack`.
      workdir: gets `checkpoint/`, `best/`, `metrics.jsonl` and `checkpoints/`.
      minutes: duration; validation counts, reading and compiling do not.
      clock: seconds since some moment.
      say: gets a line at every save.

    Raises:
      AudioSepError: pack, config or work directory cannot be used, or losses are not finite.
      Stopped: a signal came; everything is saved.
    """
    if not 0 < minutes < float("inf"):
        raise ConfigError(f"minutes is {minutes:g}: give a positive number.")
    began = time.monotonic()
    packed = sound_pack.read(pack)
    config = _fitted(config, packed, pack)
    place = make_folder(workdir)
    mesh = meshes.make_mesh(MeshConfig(), jax.devices()[:1])
    meshes.check_batch_size(config.train.batch_size, mesh, microbatches=config.execution.microbatches)
    with only_run_in(place), jax.set_mesh(mesh):
        run = _Run(config, packed, place, mesh, clock=clock, say=say)
        say(
            f"{packed.count} clips, {packed.seconds() / 3600:.2f} hours on {jax.devices()[0].device_kind}; "
            f"ready to compile after {time.monotonic() - began:.0f} s"
        )
        return run.to_the_end(60 * minutes, 60 * config.train.save_minutes or math.inf)


class _Run:
    """One run: its state, its programs, and the time that it has trained."""

    def __init__(
        self,
        config: ExperimentConfig,
        packed: SoundPack,
        place: Path,
        mesh: jax.sharding.Mesh,
        *,
        clock: Callable[[], float],
        say: Callable[[str], None],
    ) -> None:
        self.config, self.place, self.clock, self.say = config, place, clock, say
        count = len(packed.validation.groups)
        measured = np.linspace(0, count - 1, min(count, config.train.validation_mixtures)).astype(int)
        self.groups = [packed.validation.groups[index] for index in measured]
        # The constant rate; `rate_factor` is the schedule.
        constant = dataclasses.replace(config.optimizer, warmup_steps=0, decay_steps=0)
        optimizer = make_optimizer(constant, config.train.steps)
        self.checkpoints = RunCheckpoints(place, config)
        if self.checkpoints.latest_step() is None:
            self.state, self.step = first_state(config, optimizer, mesh), 0
        else:
            self.state, self.step = self.checkpoints.restore(state_like(config, optimizer, mesh))
        self.seconds = self._forget_later_lines()
        # Sound and mixtures go to the device once, and stay there.
        self.clips = jax.device_put(_clips(config, packed), meshes.replicated(mesh))
        self.validation = make_validation(
            config, packed.decode_validation()[measured], packed.validation.conditions[measured]
        )
        self.steps = make_steps(config, optimizer, mesh)
        self.best_sdri_db = _best_so_far(place / BEST / _BEST_RECORD) if self.step else -math.inf
        self.skipped_in_a_row = 0
        self.skipped = int(jax.device_get(self.state.skipped))

    def to_the_end(self, total: float, interval: float) -> TimedResult:
        began = time.monotonic()
        self.program = self.steps.lower(self.state, self.clips, *_numbers(1, 0.0, 0.0)).compile()
        sdri_db = self._measure()["sdri_db"]  # compiles, too
        self.say(f"compiled in {time.monotonic() - began:.0f} s; step {self.step}, SDRi {sdri_db:.2f} dB")
        before, started = self.seconds, self.clock()
        due, count, per_step = self.seconds + interval, 1, 0.0
        with noted_preemption() as stop_at:
            while self.seconds < total:
                if stop_at(self.step):
                    self._save({})
                    self._finish()
                    raise stop_at.stopped()
                share = min(1.0, (self.seconds + count * per_step / 2) / total)
                means = self._take(count, share)
                now = before + self.clock() - started
                per_step, self.seconds = (now - self.seconds) / count, now
                if now >= min(due, total):
                    values = self._measure()
                    sdri_db = values["sdri_db"]
                    self.seconds = before + self.clock() - started
                    due = self.seconds + interval
                    rate = self.config.optimizer.learning_rate * rate_factor(share)
                    self._save(
                        {**means, "learning_rate": rate, "steps_per_second": 1 / max(per_step, 1e-9)}
                        | {f"validation/{name}": value for name, value in values.items()}
                    )
                    self._keep_best(values)
                wanted = min(_CALL_SECONDS, total - self.seconds, due - self.seconds)
                # Twice as many as before at most, because the first steps are not typical.
                most = min(2 * count, _CALL_STEPS)
                count = max(1, min(most, int(wanted / max(per_step, 1e-6))))
        self._finish()
        return TimedResult(
            steps=self.step, seconds=self.seconds, sdri_db=sdri_db, checkpoint=self.place / FINAL
        )

    def _take(self, count: int, share: float) -> dict[str, float]:
        """Takes steps in one call, waits for them, and returns the means of their metrics."""
        absent = self.config.mixture.absent_probability if share >= _ABSENT_FROM else 0.0
        with jax.transfer_guard("disallow"):
            self.state, means = self.program(
                self.state, self.clips, *_numbers(count, rate_factor(share), absent)
            )
            means = {name: float(value) for name, value in jax.device_get(means).items()}
        self.step += count
        if means.pop("failed_step") != NEVER:
            raise TrainingError(
                f"a loss before step {self.step} is not finite, training stopped: lower "
                'optimizer.learning_rate and choose another --workdir, or set train.on_non_finite="skip".'
            )
        skipped, self.skipped = means["skipped"] - self.skipped, int(means["skipped"])
        self.skipped_in_a_row = self.skipped_in_a_row + count if skipped == count else 0
        if self.skipped_in_a_row >= _MOST_SKIPPED:
            raise TrainingError(
                f"the losses of the {self.skipped_in_a_row} steps before step {self.step} are not finite, "
                "training stopped: lower optimizer.learning_rate, and choose another --workdir."
            )
        return means

    def _measure(self) -> dict[str, float]:
        """Returns the mean SDRi of all validation mixtures, and that of each dataset."""
        values = self.validation(self.state.delivered)
        groups = dict.fromkeys(self.groups)
        of_group = {
            f"sdri_db/{group}": float(values[[name == group for name in self.groups]].mean())
            for group in groups
        }
        return {"sdri_db": float(values.mean()), **(of_group if len(groups) > 1 else {})}

    def _save(self, values: dict[str, float]) -> None:
        """Writes the numbers, then the state that they belong to."""
        row = {"step": self.step, "seconds": round(self.seconds, 3), **values}
        try:
            with (self.place / METRICS_FILE).open("ab", buffering=0) as file:
                append_rows(file, [row])
        except OSError as error:
            raise StorageError(
                f"{self.place / METRICS_FILE} cannot be written ({error.strerror}): make room, and start the "
                "same command again."
            ) from error
        self.checkpoints.save(self.state, step=self.step)
        if values:
            measured = ", ".join(
                f"{name.removeprefix('validation/sdri_db/')} {value:.2f}"
                for name, value in values.items()
                if name.startswith("validation/sdri_db/")
            )
            self.say(
                f"{self.seconds / 60:.1f} min, step {self.step}, {values['steps_per_second']:.2f} steps/s, "
                f"loss {values['loss']:.2f}, SDRi {values['validation/sdri_db']:.2f} dB"
                + (f" ({measured})" if measured else "")
            )

    def _keep_best(self, values: dict[str, float]) -> None:
        if not values["sdri_db"] > self.best_sdri_db:
            return
        self.best_sdri_db = values["sdri_db"]
        self._write_model(BEST)
        write_json(self.place / BEST / _BEST_RECORD, {"step": self.step, "validation": values})

    def _finish(self) -> None:
        self.checkpoints.close()
        self._write_model(FINAL)

    def _write_model(self, name: str) -> None:
        variables = jax.device_get(self.state.delivered)
        folder.save(self.place / name, self.config, variables, kernel_dtype="float16")

    def _forget_later_lines(self) -> float:
        """Drops the lines of steps after the restored one, and returns the seconds trained until then."""
        path = self.place / METRICS_FILE
        rows = read_rows(path.read_bytes()) if path.is_file() else []
        kept = [row for row in rows if row.get("step", math.inf) <= self.step]
        if len(kept) < len(rows):
            with replacing(path) as temporary, temporary.open("wb", buffering=0) as file:
                append_rows(file, kept)
        if not self.step:
            return 0.0
        if not kept or kept[-1]["step"] != self.step:
            raise TrainingError(
                f"{path} has no line of step {self.step}, which says how long the run has trained: choose "
                "another --workdir."
            )
        return float(kept[-1]["seconds"])


def _numbers(count: int, factor: float, absent: float) -> tuple[jax.Array, jax.Array, jax.Array]:
    numbers = (np.int32(count), np.float32(factor), np.float32(absent))
    return jax.device_put(numbers)  # pyright: ignore[reportReturnType]


def _fitted(config: ExperimentConfig, packed: SoundPack, path: str | Path) -> ExperimentConfig:
    """Returns the config with the pack's datasets, after checks that both belong together."""
    model, query = config.model, config.query
    if packed.sample_rate_hz != model.sample_rate_hz:
        raise ConfigError(
            f"{path} has {packed.sample_rate_hz} Hz, the model works at {model.sample_rate_hz} Hz: pack "
            "datasets of that rate, or set model.sample_rate_hz."
        )
    if (packed.encoder, packed.conditions.shape[1]) != (query.encoder, model.condition_size):
        raise ConfigError(
            f"{path} has conditions of the encoder {packed.encoder!r} with {packed.conditions.shape[1]} "
            f"numbers, the config has {query.encoder!r} and model.condition_size={model.condition_size}: "
            "make both equal."
        )
    if config.data.weights and len(config.data.weights) != len(packed.datasets):
        raise ConfigError(
            f"data.weights is {config.data.weights}: give one number for each of the {len(packed.datasets)} "
            f"datasets in {path}, or none."
        )
    groups = dict.fromkeys(packed.validation.groups)
    data = dataclasses.replace(
        config.data, datasets=packed.datasets, validation=tuple(f"data/{group}" for group in groups)
    )
    return dataclasses.replace(config, data=data)


def _clips(config: ExperimentConfig, packed: SoundPack) -> device_draws.DeviceClips:
    conditions = packed.conditions.astype(np.float32)
    table = ClipTable(packed.clips, config.mixture).with_conditions(conditions)
    sound, begin = packed.decode_clips()
    return device_draws.device_clips(
        table,
        config.mixture,
        sound=sound,
        begin=begin,
        conditions=conditions,
        weights=config.data.weights,
        label_balance=config.data.label_balance,
    )


def _best_so_far(path: Path) -> float:
    try:
        best: Any = json.loads(path.read_text("utf-8"))
        return float(best["validation"]["sdri_db"])
    except (OSError, ValueError, KeyError, TypeError):
        return -math.inf  # without a usable record, the next model is the best so far
