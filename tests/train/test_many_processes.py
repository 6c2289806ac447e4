"""A run in two processes trains like one process; what each of them writes."""

import dataclasses
import json
import os
import socket
import subprocess
import sys

import jax
import numpy as np
import pod_process
import pytest
import training_runs
from test_pod_training import GRADIENT_NOISE

from audiosep_jax.checkpoints import folder
from audiosep_jax.config import MeshConfig

pytestmark = [pytest.mark.pod, pytest.mark.timeout(1500)]

STEPS = 8


def start(experiment_file, workdir, *, devices, arguments=()):
    settings = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
    command = [sys.executable, "-m", "audiosep_jax.cli.main", "train", experiment_file, "--workdir", workdir]
    return subprocess.Popen(
        [*map(str, command), *map(str, arguments)],
        env=os.environ | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(*processes):
    """Returns the outputs of processes that must succeed in time; kills all at the end."""
    try:
        outputs = [process.communicate(timeout=600)[0] for process in processes]
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.communicate()
    assert [process.returncode for process in processes] == [0] * len(processes), "\n".join(outputs)
    return outputs


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="module")
def runs(sounds, tmp_path_factory):
    """Work directories and outputs of one run in one process with four devices, and in two with two each."""
    place = tmp_path_factory.mktemp("many")
    config = training_runs.experiment(sounds, steps=STEPS, evaluate_every=4, save_every=3, ema_decay=0.9)
    optimizer = dataclasses.replace(config.optimizer, learning_rate=pod_process.RATE)
    config = dataclasses.replace(
        config,
        # Where the true gradient is zero, AMSGrad would make steps of the rate out of rounding.
        optimizer=dataclasses.replace(optimizer, epsilon=pod_process.EPSILON),
        mesh=MeshConfig(data=2, fsdp=2),
        data=dataclasses.replace(config.data, validation=(str(sounds),)),
    )
    file = training_runs.write_experiment(place / "small.py", config)
    outputs = ended(start(file, place / "alone", devices=4))
    coordinator = f"127.0.0.1:{free_port()}"
    together = (
        start(
            file,
            place / "together",
            devices=2,
            arguments=["--coordinator", coordinator, "--process-index", index, "--process-count", 2],
        )
        for index in range(2)
    )
    return place, outputs + ended(*together)


def logged(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text("utf-8").splitlines()]


def test_two_processes_train_as_one(runs):
    place, _ = runs
    losses = [
        [line["loss"] for line in logged(place / name) if "loss" in line] for name in ("alone", "together")
    ]
    assert len(losses[0]) == STEPS
    # Sums over devices are taken in another order; test_pod_training says what that amounts to. The loss is
    # a level: a relative error of energies is an absolute one here.
    np.testing.assert_allclose(losses[1], losses[0], rtol=0, atol=1e-4)
    bound = STEPS * pod_process.RATE / pod_process.EPSILON * GRADIENT_NOISE
    models = [folder.load(place / name / "checkpoint").variables for name in ("alone", "together")]
    for part in ("params", "batch_stats"):
        one, two = (jax.tree.leaves(model[part]) for model in models)
        for a, b in zip(one, two, strict=True):
            np.testing.assert_allclose(b, a, rtol=0, atol=bound)


def test_no_useless_warning_is_printed(runs):
    _, outputs = runs
    assert not any("Warning" in output for output in outputs), outputs


def test_only_the_lead_writes_the_files_of_the_run(runs):
    place, (_, lead, other) = runs
    workdir = place / "together"
    assert [line["step"] for line in logged(workdir) if "loss" in line] == list(range(1, STEPS + 1))
    assert [line["step"] for line in logged(workdir) if "validation/sdri_db" in line] == [4, STEPS]
    assert len(list((workdir / "tensorboard").iterdir())) == 1
    assert "validation SDRi" in lead
    assert "goodput" in lead
    assert "step " not in other
    beats = [json.loads((workdir / "heartbeats" / f"0000{index}.json").read_text()) for index in range(2)]
    assert [(beat["process"], beat["state"], beat["step"]) for beat in beats] == [
        (0, "finished", STEPS),
        (1, "finished", STEPS),
    ]
    assert beats[0]["pid"] != beats[1]["pid"]
    assert json.loads((workdir / "goodput.json").read_text())["starts"] == 1


def test_both_runs_choose_the_same_best_model(runs):
    place, _ = runs
    records = [
        json.loads((place / name / "best" / "validation.json").read_text()) for name in ("alone", "together")
    ]
    assert records[0]["step"] == records[1]["step"]
    sdri = [record["validation"]["sdri_db"] for record in records]
    assert sdri[0] == pytest.approx(sdri[1], abs=0.05)
