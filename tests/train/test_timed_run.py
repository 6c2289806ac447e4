"""A timed run: what it writes, that it learns, resumes and stops, and that it refuses what does not fit."""

import dataclasses
import functools
import json
import os
import signal

import jax
import numpy as np
import pytest
import training_runs

from audiosep_jax.audio.mixing import mix
from audiosep_jax.checkpoints import folder
from audiosep_jax.config import AugmentConfig
from audiosep_jax.errors import ConfigError, Stopped, TrainingError
from audiosep_jax.evals import metrics
from audiosep_jax.models import separator
from audiosep_jax.train import timed_run
from audiosep_jax.train.timed_program import make_validation
from data_pipelines.mixtures import pack_builder, sound_pack

SECONDS_PER_LOOK = 0.4
OPTIONS = {
    "ema_decay": 0.9,
    "on_non_finite": "skip",
    "save_minutes": 4 / 60,
    "validation_mixtures": 6,
}


@pytest.fixture(scope="module", autouse=True)
def short_calls():
    """The clock of these tests does not know how many steps a call takes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timed_run, "_CALL_STEPS", 2)
        yield


class Clock:
    """A clock that moves on by a fixed time whenever it is read."""

    def __init__(self, *, stop_at=float("inf")):
        self.now, self.stop_at = 0.0, stop_at

    def __call__(self):
        self.now += SECONDS_PER_LOOK
        if self.now >= self.stop_at:
            self.stop_at = float("inf")
            os.kill(os.getpid(), signal.SIGTERM)
        return self.now


@pytest.fixture(scope="module")
def pack(sounds, tmp_path_factory):
    path = tmp_path_factory.mktemp("packed") / "sounds.pack"
    packed, _ = pack_builder.build(
        [str(sounds)],
        [str(sounds)],
        conditions=training_runs.LetterEncoder().encode,
        encoder="letters",
        sample_rate_hz=training_runs.RATE,
        options=pack_builder.PackOptions(kilobits=64, validation_mixtures=6),
    )
    sound_pack.write(path, packed)
    return path


def config(**train):
    made = training_runs.experiment("unused", **(OPTIONS | train))
    return dataclasses.replace(
        made,
        mixture=dataclasses.replace(made.mixture, absent_probability=0.2),
        augment=AugmentConfig(equalizer_db=1.0),
    )


def run(pack, workdir, *, seconds=12.0, clock=None, **options):
    lines = []
    options.setdefault("config", config())
    result = timed_run.train(
        options["config"],
        pack,
        workdir,
        minutes=seconds / 60,
        clock=clock or Clock(),
        say=lines.append,
    )
    return result, lines


def rows(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text("utf-8").splitlines()]


@pytest.fixture(scope="module")
def finished(pack, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("timed") / "run"
    return (*run(pack, workdir, seconds=30.0), workdir)


def test_a_run_learns_and_writes_model_and_numbers(finished):
    result, lines, workdir = finished
    numbers = rows(workdir)
    assert result.seconds >= 30
    assert result.steps == numbers[-1]["step"] > 50
    assert numbers[-1]["loss"] < numbers[0]["loss"] - 1
    assert result.sdri_db == numbers[-1]["validation/sdri_db"] > numbers[0]["validation/sdri_db"]
    assert numbers[0]["learning_rate"] > 20 * numbers[-1]["learning_rate"]
    assert all("SDRi" in line for line in lines[1:])
    saved = json.loads((workdir / "best" / "validation.json").read_text("utf-8"))
    assert saved["validation"]["sdri_db"] == max(row["validation/sdri_db"] for row in numbers)


def test_the_model_loads_and_separates(finished, pack):
    result, _, workdir = finished
    packed = sound_pack.read(pack)
    sounds, conditions = packed.decode_validation(), packed.validation.conditions
    for name in ("checkpoint", "best"):
        checkpoint = folder.load(workdir / name)
        assert checkpoint.config.data.datasets == ("data/dataset",)
        measure = make_validation(checkpoint.config, sounds, conditions)
        # The files' kernels are float16.
        assert measure(checkpoint.variables).mean() == pytest.approx(result.sdri_db, abs=0.3)
    mixture, target = jax.jit(mix)(sounds.astype(np.float32) / 32768, np.zeros((len(sounds), 2), np.int32))
    apply = jax.jit(functools.partial(separator.apply, checkpoint.config.model))
    estimate = apply(checkpoint.variables, mixture, conditions.astype(np.float32))
    alone = metrics.sdri_db(np.asarray(target), np.asarray(estimate), np.asarray(mixture))
    np.testing.assert_allclose(alone, measure(checkpoint.variables), atol=0.01)


@pytest.mark.slow
def test_the_same_clock_gives_the_same_run(pack, tmp_path):
    first, _ = run(pack, tmp_path / "one", seconds=4.0)
    second, _ = run(pack, tmp_path / "two", seconds=4.0)
    assert rows(tmp_path / "one") == rows(tmp_path / "two")
    one, two = ((result.checkpoint / "model.safetensors").read_bytes() for result in (first, second))
    assert one == two


@pytest.mark.slow
def test_a_stopped_run_saves_its_model_and_resumes(pack, tmp_path):
    with pytest.raises(Stopped):
        run(pack, tmp_path, clock=Clock(stop_at=7.0))
    stopped = rows(tmp_path)[-1]
    assert 0 < stopped["seconds"] < 8
    assert folder.load(tmp_path / "checkpoint")
    # Lines after the restored step are of a run that was lost.
    with (tmp_path / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"step": 10_000, "seconds": 1e6}) + "\n{")
    result, lines = run(pack, tmp_path)
    numbers = rows(tmp_path)
    assert f"step {stopped['step']}," in lines[1]
    assert [row["step"] for row in numbers] == sorted(row["step"] for row in numbers)
    assert 12 <= result.seconds < 14
    assert result.steps == numbers[-1]["step"]
    again, _ = run(pack, tmp_path)
    assert (again.steps, again.seconds) == (result.steps, numbers[-1]["seconds"])
    with pytest.raises(TrainingError, match="another config"):
        run(pack, tmp_path, config=config(loss="l1"))
    (tmp_path / "metrics.jsonl").unlink()
    with pytest.raises(TrainingError, match="how long the run has trained"):
        run(pack, tmp_path)


@pytest.mark.parametrize("policy", [pytest.param("stop", marks=pytest.mark.slow), "skip"])
def test_losses_that_are_not_finite_end_the_run(pack, tmp_path, policy):
    made = config()
    bad = dataclasses.replace(
        made,
        optimizer=dataclasses.replace(made.optimizer, learning_rate=1e30),
        train=dataclasses.replace(made.train, on_non_finite=policy),
    )
    with pytest.raises(TrainingError, match="not finite, training stopped"):
        run(pack, tmp_path, config=bad, seconds=60.0)


def test_what_does_not_fit_is_refused(pack, tmp_path):
    made = config()

    def refused(match, **fields):
        with pytest.raises(ConfigError, match=match):
            run(pack, tmp_path / "refused", config=dataclasses.replace(made, **fields))

    refused("has 8000 Hz", model=dataclasses.replace(made.model, sample_rate_hz=16_000))
    refused("conditions of the encoder", model=dataclasses.replace(made.model, condition_size=5))
    refused("data.weights is", data=dataclasses.replace(made.data, weights=(1.0, 2.0)))
    with pytest.raises(ConfigError, match="positive number"):
        run(pack, tmp_path / "refused", seconds=0)
