"""Every command of README.md and docs/speed.md runs, in order and in one folder."""

import dataclasses
import importlib.util
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
import released_files
import soundfile
from readme_commands import (
    TOKENIZER,
    blocks,
    commands,
    environment,
    look_like_repository,
    recipe,
    run,
    shortened,
)

import audiosep_jax
from audiosep_jax.checkpoints import folder, torch_file
from audiosep_jax.checkpoints.bundled import BUNDLED_CHECKPOINT
from audiosep_jax.config import ExperimentConfig, MixtureConfig, ModelConfig, QueryConfig, TrainConfig
from audiosep_jax.evals.evaluation_set import load_evaluation_set, render
from audiosep_jax.models import separator

DEMO_FILES = ("mixture.wav", "target.wav", "estimate.wav", "residual.wav", "spectrograms.png")
QUICK = ExperimentConfig(
    name="quick",
    model=ModelConfig(
        sample_rate_hz=16_000,
        window_length=512,
        hop_length=256,
        encoder_widths=(4, 8),
        condition_size=384,
        unused_tensors=False,
    ),
    query=QueryConfig(encoder="sentence"),
    mixture=MixtureConfig(segment_seconds=1.0),
    train=TrainConfig(loss="snr"),
)


@pytest.fixture(scope="module")
def reader(tmp_path_factory) -> Path:
    """A reader's folder: a recording, and a small file in the format of the released AudioSep."""
    place = tmp_path_factory.mktemp("reader")
    look_like_repository(place)
    write_inputs(place)
    return place


def write_inputs(place: Path) -> None:
    """Writes `street.wav` (a dog in the rain), a small AudioSep in the released format, and a tokenizer."""
    demo = BUNDLED_CHECKPOINT.parent / "demo"
    held_out = load_evaluation_set(demo / "evaluation.json")
    rate = held_out.sample_rate_hz
    dog = render(held_out.entries[0], root=demo, sample_rate_hz=rate, seconds=held_out.seconds)
    audiosep_jax.write_audio(place / "street.wav", dog.mixture, sample_rate_hz=rate, subtype="PCM_16")
    small = dataclasses.replace(released_files.SMALL, window_length=2048)  # the released model's window
    tensors = released_files.state_dict(released_files.separator_tensors(small))
    released_files.write_lightning(place / "audiosep_base_4M_steps.ckpt", tensors)
    released_files.write_tokenizer(place / TOKENIZER)


@pytest.fixture(scope="module")
def quick(tmp_path_factory) -> Path:
    """The checkpoint of an untrained model that compiles quickly."""
    place = tmp_path_factory.mktemp("quick")
    folder.save(place, QUICK, jax.device_get(separator.init(QUICK.model, jax.random.key(0))))
    return place


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_demo_stops_cleanly_at_ctrl_c(reader, quick):
    # Not -m: a shell that runs the tests in the background would have SIGINT ignored.
    program = (
        "import signal, sys; from experiments.demo import main;"
        "signal.signal(signal.SIGINT, signal.default_int_handler); sys.exit(main(sys.argv[1:]))"
    )
    options = ["--steps", "1000000", "--checkpoint", str(quick)]
    command = [sys.executable, "-c", program, *options]
    with subprocess.Popen(
        command,
        cwd=reader,
        env=environment(reader),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as demo:
        try:
            assert demo.stdout is not None
            # Output is text in lines here, and the first line of the loop says that it is running.
            assert any(line.startswith("step 10:") for line in demo.stdout)
            demo.send_signal(signal.SIGINT)
            _, errors = demo.communicate(timeout=300)
        finally:
            demo.kill()
    assert demo.returncode == 130
    assert "Traceback" not in errors
    assert "interrupted" in errors


# After the interrupted demo, where that runs: `make demo` must work on what it left behind.
@pytest.mark.timeout(900)
@pytest.mark.parametrize("command", commands())
def test_command(command, reader, quick):
    quicker = shortened(command, quick)
    if quicker is None:
        pytest.fail(f"no test covers the command {command!r}: add it to readme_commands.py")
    result = run(quicker, reader)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]


def test_demo_output(reader):
    check_demo_output(reader / "demo_output")


def test_separated_files(reader):
    names = {path.name for path in (reader / "separated").iterdir()}
    assert {"street.a-dog-barking.estimate.wav", "street.rain-falling.residual.wav"} <= names


def test_training_and_evaluation_left_their_results(reader):
    lines = (reader / "runs/clips/metrics.jsonl").read_text("utf-8").splitlines()
    assert np.isfinite(json.loads(lines[-1])["loss"])
    result = json.loads((reader / "evaluation/result.json").read_text("utf-8"))
    assert result["overall"]["count"] == 21


def test_conversion_and_export_left_their_results(reader):
    released, back = (
        torch_file.read(reader / name)["state_dict"]
        for name in ("audiosep_base_4M_steps.ckpt", "back_in_pytorch.ckpt")
    )
    assert list(released) == list(back)
    for name in released:
        np.testing.assert_array_equal(released[name].read(), back[name].read(), strict=True)
    assert (reader / "served" / "manifest.json").is_file()


@pytest.mark.parametrize("block", blocks("python"))
def test_python_block(block, reader):
    result = subprocess.run(
        [sys.executable, "-c", block],
        cwd=reader,
        env=environment(reader),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    mixture, dog, rest = (
        soundfile.read(reader / name, dtype="float64")[0] for name in ("street.wav", "dog.wav", "rest.wav")
    )
    np.testing.assert_allclose(dog + rest, mixture, atol=1.01 / 32768)


def test_unknown_command_is_not_covered(quick):
    assert shortened("audiosep transmogrify a.wav", quick) is None
    assert shortened("pip install something", quick) is None


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_commands_as_they_stand(tmp_path):
    look_like_repository(tmp_path)
    write_inputs(tmp_path)
    for command in commands():
        name, *rest = command.split()
        if name == ".":
            continue
        if name == "make" and rest == ["test"]:
            continue  # this is part of it
        started = time.monotonic()
        no_compiler = command.startswith("audiosep compile") and importlib.util.find_spec("libtpu") is None
        if no_compiler or command.startswith(("pip install", "audiosep convert audiosep_base")):
            command = shortened(command, tmp_path) or command
        result = run(recipe(rest[0]) if name == "make" else command, tmp_path, timeout_s=1800)
        print(f"{time.monotonic() - started:.0f} s: {command}")
        assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    check_demo_output(tmp_path / "demo_output")


def check_demo_output(place: Path) -> None:
    for name in DEMO_FILES:
        assert (place / name).stat().st_size > 10_000, name
    mixture, estimate, residual, target = (
        soundfile.read(place / f"{name}.wav", dtype="int16")[0].astype(int)
        for name in ("mixture", "estimate", "residual", "target")
    )
    assert len(mixture) == 5 * 32_000
    np.testing.assert_array_equal(estimate + residual, mixture)
    assert np.abs(target).max() > 1000
