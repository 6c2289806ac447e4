"""The files that a run writes beside its model, and its steps: one whole run in this process."""

import dataclasses
import json
import os
import signal

import jax
import numpy as np
import pytest
import training_runs

from audiosep_jax.checkpoints import folder
from audiosep_jax.config import MeshConfig
from audiosep_jax.encoders import base
from audiosep_jax.errors import AudioSepError
from audiosep_jax.train import first_state, loop, profiling, setup, spikes
from audiosep_jax.train.checkpoint import RunCheckpoints
from audiosep_jax.train.optimizer import make_optimizer
from audiosep_jax.train.workdir import Workdir
from data_pipelines.mixtures.pipeline import MixturePipeline

STEPS = 48
BAD_STEPS = (20, 21)
LOUD_STEP = 44


def poison(batch):
    if batch.step in BAD_STEPS:
        batch.segments[1, 0, 3] = np.inf
    # The loud step is a hundred times as loud as all others, and so is its absolute error. The others are
    # quiet, because a louder mixture would be scaled down to a peak of 0.9.
    batch.level_db[:] = 0.0 if batch.step == LOUD_STEP else -40.0
    return batch


@pytest.fixture(scope="module")
def compilations():
    """Names of the programs that XLA compiled."""
    return []


@pytest.fixture(scope="module")
def finished(sounds, tmp_path_factory, compilations):
    """Work directory, config and result of a run that skips, averages, validates, saves and profiles."""
    workdir = tmp_path_factory.mktemp("operation")
    config = training_runs.experiment(
        sounds,
        steps=STEPS,
        loss="l1",
        save_every=16,
        evaluate_every=24,
        ema_decay=0.9,
        on_non_finite="skip",
        spike_deviations=3.0,
        profile_steps=(30, 31),
        log_every=4,
    )
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, validation=(str(sounds),)))
    batches, compile_step = MixturePipeline.batches, jax.stages.Lowered.compile

    def counted(lowered, *arguments, **options):
        compilations.append(lowered.as_text().partition("@")[2].partition(" ")[0])
        return compile_step(lowered, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(base.ENCODERS, "letters", "training_runs")
        patch.setattr(jax.stages.Lowered, "compile", counted)
        patch.setattr(
            MixturePipeline, "batches", lambda self, **options: batches(self, **options).map(poison)
        )
        patch.setattr(spikes, "SMALLEST_WINDOW", 10)
        with jax.log_compiles(False):
            result = loop.train(config, workdir)
    return workdir, config, result


def lines(workdir, name):
    return [json.loads(line) for line in (workdir / name).read_text("utf-8").splitlines()]


def test_the_step_is_compiled_ahead_and_once(finished, compilations):
    workdir, _, _ = finished
    assert len([name for name in compilations if "train_step" in name]) == 1
    seconds = json.loads((workdir / "goodput.json").read_text())["seconds"]
    assert seconds["compile"] > 0.05


def test_goodput_is_written_at_the_end(finished):
    record = json.loads((finished[0] / "goodput.json").read_text())
    assert record["finished"]
    assert record["step"] == STEPS
    assert record["starts"] == 1
    assert 0 < record["goodput"] < 1
    for part in ("train", "start", "compile", "data", "save", "validation", "lost"):
        assert record["seconds"][part] > 0, part  # "lost": two steps were skipped
    assert record["seconds"]["between_starts"] == record["seconds"]["restore"] == 0
    assert sum(record["seconds"].values()) == pytest.approx(record["wall_seconds"])
    assert list(record["trained_until"]) == ["16", "32", "48"]


def test_times_are_logged_apart(finished):
    logged = [line for line in lines(finished[0], "metrics.jsonl") if "learning_rate" in line]
    assert [line["step"] for line in logged] == list(range(4, STEPS + 1, 4))
    for line in logged:
        parts = {name: line[f"seconds/{name}"] for name in ("data", "host", "device", "checkpoint")}
        assert all(seconds >= 0 for seconds in parts.values()), line
        assert parts["device"] > 0
        assert parts["host"] > 0
        # What the loop does one after the other fits into the time of a step.
        step = 4 / line["examples_per_second"]
        assert parts["data"] + parts["host"] + parts["checkpoint"] <= step * 1.001
    saved = [line["seconds/checkpoint"] > 0 for line in logged]
    assert saved == [line["step"] in (20, 36) for line in logged]


def test_a_heartbeat_says_that_the_run_is_over(finished):
    said = json.loads((finished[0] / "heartbeats" / "00000.json").read_text())
    assert (said["state"], said["step"], said["pid"]) == ("finished", STEPS, os.getpid())


def test_skipped_steps_are_counted_and_leave_no_trace(finished):
    workdir, _, result = finished
    assert int(result.state.skipped) == 2
    assert int(result.state.failed_step) == -1
    logged = {line["step"]: line for line in lines(workdir, "metrics.jsonl") if "skipped" in line}
    assert [logged[step]["skipped"] for step in (20, 24, STEPS)] == [0, 2, 2]
    assert all(np.isfinite(line["loss"]) for line in logged.values())
    skipped = [line for line in lines(workdir, "spikes.jsonl") if line["skipped"]]
    assert [line["step"] for line in skipped] == list(BAD_STEPS)
    assert all(line["loss"] is None and len(line["examples"]) == 4 for line in skipped)


def test_a_loss_spike_is_recorded_with_its_batch(finished):
    (spike,) = [line for line in lines(finished[0], "spikes.jsonl") if line["step"] == LOUD_STEP]
    assert spike["loss"] > spike["mean"] + 30 * spike["deviation"]
    for example in spike["examples"]:
        assert example["caption"] in training_runs.CAPTIONS.values()
        assert len(example["files"]) == 2


def test_a_profile_of_the_named_steps_is_there(finished):
    found = list((finished[0] / "profile").rglob("*.xplane.pb"))
    assert len(found) == 1
    trace = found[0].read_bytes()
    assert b"train_step" in trace


def test_the_average_is_what_is_validated_and_delivered(finished):
    workdir, _, result = finished
    delivered = folder.load(workdir / "checkpoint").variables["params"]
    jax.tree.map(np.testing.assert_array_equal, delivered, jax.device_get(result.state.ema))
    different = jax.tree.map(
        lambda a, b: bool((a != b).any()), delivered, jax.device_get(result.state.params)
    )
    assert np.mean(jax.tree.leaves(different)) > 0.9
    best = json.loads((workdir / "best" / "validation.json").read_text())
    measured = {
        line["step"]: line["validation/sdri_db"]
        for line in lines(workdir, "metrics.jsonl")
        if "validation/sdri_db" in line
    }
    assert list(measured) == [24, STEPS]
    assert best["validation"]["sdri_db"] == max(measured.values())
    if measured[STEPS] > measured[24]:
        kept = folder.load(workdir / "best").variables["params"]
        jax.tree.map(np.testing.assert_array_equal, kept, delivered)


def test_a_finished_run_is_not_trained_further_and_keeps_its_record(finished, letters, capsys):
    workdir, config, result = finished
    before = (workdir / "goodput.json").read_text()
    lines_before = (workdir / "metrics.jsonl").read_text().count("learning_rate")
    again = loop.train(config, workdir)
    assert again.validation_sdri_db == pytest.approx(result.validation_sdri_db)
    assert (workdir / "goodput.json").read_text() == before
    assert (workdir / "metrics.jsonl").read_text().count("learning_rate") == lines_before


def test_the_step_is_compiled_for_the_arrays_of_the_pipeline(sounds, letters, tmp_path):
    config = training_runs.experiment(sounds)
    mesh = loop.meshes.make_mesh(MeshConfig())
    pipeline, _ = setup.open_data(config, Workdir(tmp_path), mesh)
    batch = next(iter(pipeline.batches(stop_step=1)))
    expected = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), setup.batch_like(config, mesh))
    assert {name: (array.shape, array.dtype) for name, array in batch.arrays.items()} == expected


def test_an_older_checkpoint_without_a_count_of_skipped_steps_is_restored(finished, tmp_path):
    _, config, _ = finished
    optimizer = make_optimizer(config.optimizer, config.train.steps)
    mesh = loop.meshes.make_mesh(MeshConfig())
    state = first_state.first_state(config, optimizer, mesh)
    checkpoints = RunCheckpoints(tmp_path, config)
    checkpoints.save(dataclasses.replace(state, skipped=None), step=0)
    checkpoints.close()
    restored, step = RunCheckpoints(tmp_path, config).restore(first_state.state_like(config, optimizer, mesh))
    assert (step, int(restored.skipped)) == (0, 0)


def test_too_many_skipped_steps_end_a_run(sounds, letters, tmp_path, monkeypatch):
    batches = MixturePipeline.batches

    def silence_everything(batch):
        batch.segments[:] = np.nan
        return batch

    monkeypatch.setattr(
        MixturePipeline, "batches", lambda self, **options: batches(self, **options).map(silence_everything)
    )
    monkeypatch.setattr(spikes, "MOST_SKIPPED_IN_A_ROW", 5)
    config = training_runs.experiment(sounds, on_non_finite="skip")
    with pytest.raises(AudioSepError, match="steps 0 to 4 were all skipped because loss or gradient"):
        loop.train(config, tmp_path / "run")
    assert len(lines(tmp_path / "run", "spikes.jsonl")) == 5
    heartbeat = json.loads((tmp_path / "run" / "heartbeats" / "00000.json").read_text())
    assert heartbeat["state"] == "stopped"


def test_steps_to_profile_lie_within_the_run(sounds, letters, tmp_path):
    config = training_runs.experiment(sounds, profile_steps=(60, 70))
    with pytest.raises(
        AudioSepError, match=r"profile_steps is \(60, 70\), but the steps of the run are 0 to 59"
    ):
        loop.train(config, tmp_path / "run")


def test_a_signal_profiles_the_next_steps(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(jax.profiler, "start_trace", lambda place: calls.append(f"start {place.name}"))
    monkeypatch.setattr(jax.profiler, "stop_trace", lambda: calls.append("stop"))
    result = jax.numpy.zeros([])
    with profiling.Profiling(Workdir(tmp_path), (0, 0), total=100, process=2) as profile:
        for step in range(12):
            if step == 3:
                os.kill(os.getpid(), signal.SIGUSR1)
            profile.before(step)
            calls.append(step)
            profile.after(step, result)
    during = [call for call in calls if not isinstance(call, int)]
    assert during == ["start process_00002", "stop"]
    assert calls[calls.index("start process_00002") + 1 : calls.index("stop")] == [3, 4, 5, 6, 7]
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
