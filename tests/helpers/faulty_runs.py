"""Whole runs in separate processes, faults for them, and their files."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import orbax.checkpoint as ocp
import training_runs

STEPS = 40
SAVE_EVERY = 6
STARTED = []

# Steps of a sixth of a second, by two threads, and saves of several steps, so that signals find both.
SLOW = """
import time
import orbax.checkpoint as ocp
from data_pipelines.mixtures.pipeline import MixturePipeline

_load, _finalize = MixturePipeline._load, ocp.CompositeCheckpointHandler.finalize

def slow_load(self, draws):
    time.sleep(0.3)
    return _load(self, draws)

def slow_finalize(self, directory):
    time.sleep(0.15)
    return _finalize(self, directory)

MixturePipeline._load, ocp.CompositeCheckpointHandler.finalize = slow_load, slow_finalize
"""


def experiment(dataset, **train):
    options = {"steps": STEPS, "save_every": SAVE_EVERY, "audio_examples": 0}
    return training_runs.experiment(dataset, **(options | train))


def write(path, config, *, fault=SLOW):
    """Writes an experiment file that injects a fault into the process that loads it."""
    training_runs.write_experiment(path, config)
    path.write_text(path.read_text("utf-8") + fault, "utf-8")
    return path


def start(experiment_file, workdir, *arguments, cache, devices=1, **environment):
    """Starts `audiosep train`; `cache` keeps compiled programs between processes."""
    settings = {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "PYTHONUNBUFFERED": "1",
    }
    # Like the installed command; a shell that runs the tests in the background would have SIGINT ignored.
    program = (
        "import signal, sys; from audiosep_jax.cli.main import main;"
        "signal.signal(signal.SIGINT, signal.default_int_handler); sys.exit(main())"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, "train", str(experiment_file), "--workdir", str(workdir), *arguments],
        env=os.environ | settings | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    STARTED.append(process)
    return process


def end_all():
    """Ends processes that a failed test left running."""
    while STARTED:
        process = STARTED.pop()
        process.kill()
        process.wait()
        process.stdout.close()


def start_together(experiment_file, workdir, count, *, devices=1, **options):
    """Starts the processes of one run, which join at a free local port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    return [
        start(
            experiment_file,
            workdir,
            *("--coordinator", address, "--process-index", str(index), "--process-count", str(count)),
            devices=devices,
            **options,
        )
        for index in range(count)
    ]


def finished(*processes, timeout=1500):
    """Waits for processes, which must succeed, and returns their outputs."""
    outputs = [process.communicate(timeout=timeout)[0] for process in processes]
    for process, output in zip(processes, outputs, strict=True):
        assert process.returncode == 0, output
    return outputs


def wait_for(condition, process, *, seconds=1500):
    """Waits until a condition holds or the run ends, which must not fail."""
    end = time.monotonic() + seconds
    while process.poll() != 0 and not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)


def step_of(workdir):
    """The last logged step."""
    path = workdir / "metrics.jsonl"
    whole = path.read_text("utf-8").rpartition("\n")[0].splitlines() if path.exists() else []
    return max((json.loads(line)["step"] for line in whole), default=0)


def losses(workdir):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text("utf-8").splitlines()]
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


def checkpoints(workdir):
    """The steps of the whole checkpoints."""
    folder = workdir / "checkpoints"
    return (
        sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit()) if folder.exists() else []
    )


def half_written(workdir, *, since=0.0):
    """The folders of unfinished saves that began after a time (seconds since 1970)."""
    found = (workdir / "checkpoints").glob("*.orbax-checkpoint-tmp")
    with contextlib.suppress(FileNotFoundError):  # one that ends just now
        return [folder.name for folder in found if folder.stat().st_mtime >= since]
    return []


def state(workdir, step=STEPS):
    """Everything in a checkpoint, by name."""
    # Whatever devices it was saved from, it is read here.
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    stored = ocp.Checkpointer(ocp.StandardCheckpointHandler()).restore(
        workdir / "checkpoints" / str(step) / "state",
        args=ocp.args.StandardRestore(fallback_sharding=here),
    )
    return {path: np.asarray(leaf) for path, leaf in ocp.tree.to_flat_dict(stored, sep="/").items()}


def assert_same_bits(one, two):
    """Both runs ended with the same state and the same model."""
    first, second = state(one), state(two)
    assert set(first) == set(second)
    for path, value in first.items():
        np.testing.assert_array_equal(second[path], value, err_msg=path)
    weights = [(run / "checkpoint" / "model.safetensors").read_bytes() for run in (one, two)]
    assert weights[0] == weights[1]
    assert losses(one) == losses(two)
