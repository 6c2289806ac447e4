"""`audiosep train` as a process: what it writes, and that an interruption leaves no trace."""

import dataclasses
import json
import random
import signal
import time

import numpy as np
import orbax.checkpoint as ocp
import pytest
import training_runs
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from training_runs import CAPTIONS, RATE

from audiosep_jax.checkpoints import folder
from audiosep_jax.cli import main
from audiosep_jax.config import QueryConfig
from audiosep_jax.separation.api import AudioSep

STEPS = 60


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def experiment_file(place, sounds):
    config = training_runs.experiment(sounds, steps=STEPS, evaluate_every=40)
    config = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, validation=(str(sounds),)),
        # Half of the conditions are heard while the run goes on, which an interruption must not change.
        query=QueryConfig(encoder="letters", source="hear", text_ratio=0.5),
    )
    return training_runs.write_experiment(place / "small.py", config)


@pytest.fixture(scope="module")
def whole(place, experiment_file):
    """Work directory and output of a run that nothing interrupted."""
    process = training_runs.start(experiment_file, place / "whole", cache=place / "cache")
    output, _ = process.communicate(timeout=500)
    assert process.returncode == 0, output
    return place / "whole", output


def lines(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text("utf-8").splitlines()]


def final_state(workdir):
    """Everything in the last Orbax checkpoint: step, parameters, statistics, optimizer."""
    state = ocp.StandardCheckpointer().restore(workdir / "checkpoints" / str(STEPS) / "state")
    return {path: np.asarray(leaf) for path, leaf in ocp.tree.to_flat_dict(state, sep="/").items()}


def test_the_loss_goes_down_and_every_step_has_its_line(whole):
    losses = {line["step"]: line for line in lines(whole[0]) if "loss" in line}
    assert list(losses) == list(range(1, STEPS + 1))
    early, late = (
        np.mean([losses[step]["loss"] for step in steps])
        for steps in (range(1, 11), range(STEPS - 9, STEPS + 1))
    )
    assert late < early - 1
    for line in losses.values():
        assert line["gradient_norm"] > 0
        assert line["examples_per_second"] > 0
        assert 0 <= line["data_wait_share"] <= 1
        assert line["share_text"] + line["share_audio"] == 1
    assert np.mean([line["share_audio"] for line in losses.values()]) == pytest.approx(0.5, abs=0.15)
    rates = [losses[step]["learning_rate"] for step in (3, 4)]
    np.testing.assert_allclose(rates, [1e-3, 1e-2], rtol=1e-6)


def test_without_a_terminal_lines_are_printed_instead_of_a_bar(whole):
    output = whole[1]
    assert f"step {STEPS}: loss " in output
    assert "examples/s, data wait " in output
    assert "step 40: validation SDRi " in output
    assert f"trained {STEPS} steps; the model is in {whole[0] / 'checkpoint'}\n" in output


def test_validation_is_measured_and_the_best_model_kept(whole):
    workdir, _ = whole
    measured = {line["step"]: line["validation/sdri_db"] for line in lines(workdir) if "loss" not in line}
    assert list(measured) == [40, STEPS]
    record = json.loads((workdir / "best" / "validation.json").read_text("utf-8"))
    best = max(measured, key=measured.get)
    assert record["step"] == best
    np.testing.assert_allclose(record["validation"]["sdri_db"], measured[best])
    assert folder.load(workdir / "best").config.name == "small"


def test_tensorboard_reads_scalars_sounds_and_pictures(whole):
    events = EventAccumulator(str(whole[0] / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    tags = events.Tags()
    assert {"loss", "gradient_norm", "learning_rate", "validation/sdri_db"} <= set(tags["scalars"])
    written = [(event.step, event.value) for event in events.Scalars("loss")]
    expected = [(line["step"], line["loss"]) for line in lines(whole[0]) if "loss" in line]
    np.testing.assert_allclose(written, expected, rtol=1e-6)
    assert {f"validation0/{name}" for name in ("mixture", "target", "estimate")} <= set(tags["audio"])
    (sound, *_) = events.Audio("validation0/mixture")
    assert sound.sample_rate == RATE
    assert sound.encoded_audio_string.startswith(b"RIFF")
    (picture, *_) = events.Images("validation0")
    assert picture.encoded_image_string.startswith(b"\x89PNG")
    assert picture.width > 100


def test_the_final_model_separates(whole):
    checkpoint = folder.load(whole[0] / "checkpoint")
    model = AudioSep(checkpoint.config, checkpoint.variables)
    target, other = training_runs.sound("low", 7), training_runs.sound("high", 8)
    condition = training_runs.LetterEncoder().encode([CAPTIONS["low"]])[0]
    result = model.separate(np.float32(target + other), RATE, condition=condition)
    assert np.mean((result.estimate - target) ** 2) < np.mean(other**2)


@pytest.mark.parametrize(
    ("how", "status"),
    [
        pytest.param(signal.SIGKILL, -signal.SIGKILL, id="SIGKILL", marks=pytest.mark.pod),
        pytest.param(signal.SIGINT, 130, id="SIGINT", marks=pytest.mark.pod),
        pytest.param(signal.SIGTERM, 143, id="SIGTERM", marks=pytest.mark.pod),
    ],
)
def test_an_interrupted_run_ends_with_the_same_bits(whole, place, experiment_file, tmp_path, how, status):
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")
    draw = random.Random(seed)
    workdir = tmp_path / "run"
    after = draw.randrange(1, STEPS - 10)
    process = training_runs.start(experiment_file, workdir, cache=place / "cache")
    metrics = workdir / "metrics.jsonl"
    while process.poll() is None and not (metrics.exists() and metrics.read_bytes().count(b"\n") >= after):
        time.sleep(0.002)
    time.sleep(draw.uniform(0, 0.05))
    assert process.poll() is None, process.communicate()[0]
    process.send_signal(how)
    output, _ = process.communicate(timeout=100)
    assert process.returncode == status, output
    reached = lines_of_a_killed_run(metrics)
    print(f"stopped by {how.name} after step {reached}")
    assert reached < STEPS

    process = training_runs.start(experiment_file, workdir, cache=place / "cache")
    output, _ = process.communicate(timeout=500)
    assert process.returncode == 0, output

    one, two = final_state(whole[0]), final_state(workdir)
    assert set(one) == set(two)
    assert len(one) > 100
    for path, value in one.items():
        np.testing.assert_array_equal(two[path], value, err_msg=f"{path} after seed {seed}")
    weights = [(run / "checkpoint" / "model.safetensors").read_bytes() for run in (whole[0], workdir)]
    assert weights[0] == weights[1]
    # The log reads as if nothing had happened.
    assert [(line["step"], line.get("loss")) for line in lines(workdir) if "loss" in line] == [
        (line["step"], line.get("loss")) for line in lines(whole[0]) if "loss" in line
    ]


def lines_of_a_killed_run(metrics):
    """The last step in a log whose last line may be half-written."""
    whole_lines = metrics.read_text("utf-8").rpartition("\n")[0].splitlines()
    return max((json.loads(line)["step"] for line in whole_lines), default=0)


def test_a_finished_run_is_not_trained_again(whole, experiment_file, capsys):
    before = (whole[0] / "checkpoint" / "model.safetensors").read_bytes()
    assert main.main(["train", str(experiment_file), "--workdir", str(whole[0])]) == 0
    assert f"trained {STEPS} steps" in capsys.readouterr().out
    assert (whole[0] / "checkpoint" / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--no-resume"], "already holds a run: choose another --workdir, or resume it."),
        (
            ["--set", "optimizer.learning_rate=0.5", "mixture.sources=3"],
            "holds a run of another config (mixture.sources was 2 and is 3; "
            "optimizer.learning_rate was 0.01 and is 0.5)",
        ),
    ],
    ids=["no-resume", "changed"],
)
def test_a_work_directory_of_another_run_is_refused(whole, experiment_file, arguments, said, capsys):
    assert main.main(["train", str(experiment_file), "--workdir", str(whole[0]), *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("audiosep: error: ")
    assert said in error.replace("\n", " ")
