"""One training as 1 process of 8 devices, 2 of 4 and 4 of 2: the same examples, the same parameters.

Real processes over 127.0.0.1, each with its share of eight virtual devices.
"""

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

from audiosep_jax.checkpoints import folder

pytestmark = [pytest.mark.pod, pytest.mark.timeout(1800)]

STEPS = 5
DEVICES = 8
REPLICATED = {"mesh": {}, "microbatches": 1, "steps": STEPS}
SPLIT = {"mesh": {"data": 2, "fsdp": 4}, "microbatches": 1, "steps": STEPS}
PARTS = {"mesh": {}, "microbatches": 2, "steps": STEPS}
SPLIT_PARTS = {"mesh": {"replica": 2, "data": 2, "fsdp": 2}, "microbatches": 2, "steps": STEPS}

# Every device sums what it holds and the sums are summed: with other processes and devices in another order.
# A float32 sum of n numbers then differs by about sqrt(n) · 2^-24 of their size, 1e-5 for 16 examples of 2000
# samples; on the way through phases and normalizations that becomes up to 1e-4 of a gradient (7e-5 is
# measured where one step of one device is compared with one of eight). A step here moves a parameter by
# no more than RATE / EPSILON of its gradient, which is about 1 at most. After n steps the bound is
GRADIENT_NOISE = 1e-4
BOUND = STEPS * pod_process.RATE / pod_process.EPSILON * GRADIENT_NOISE


def environment(count):
    flags = f"--xla_force_host_platform_device_count={DEVICES // count} --xla_backend_optimization_level=0"
    return os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}


def free_address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def at_once(commands, count):
    """Runs one command per process, and waits until all have ended well; returns their outputs."""
    processes = [
        subprocess.Popen(
            [sys.executable, *command],
            env=environment(count),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for command in commands
    ]
    outputs = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * count, "\n".join(outputs)
    return outputs


def together(out, dataset, count, cases):
    """Runs the cases in `count` processes; returns the report of each, in order."""
    out.mkdir()
    task = {
        "coordinator": free_address(),
        "count": count,
        "dataset": str(dataset),
        "out": str(out),
        "cases": cases,
    }
    program = pod_process.__file__
    at_once([[program, json.dumps(task | {"index": index})] for index in range(count)], count)
    return [json.loads((out / f"process{index}.json").read_text("utf-8")) for index in range(count)]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("pods")


@pytest.fixture(scope="module")
def pods(place, sounds):
    """Reports by number of processes."""
    cases = {
        1: {"replicated": REPLICATED, "parts": PARTS},
        2: {"replicated": REPLICATED, "split": SPLIT},
        4: {"replicated": REPLICATED, "parts": SPLIT_PARTS},
    }
    return {count: together(place / str(count), sounds, count, cases[count]) for count in cases}


def examples(reports, case, *, microbatches=1):
    """The examples of all processes, per step in the order of the global batch."""
    steps = []
    for parts in zip(*(report[case] for report in reports), strict=True):
        rows = [list(zip(part["ids"], part["sums"], part["gains"], strict=True)) for part in parts]
        size = len(rows[0]) // microbatches
        steps.append(
            [row for m in range(microbatches) for mine in rows for row in mine[m * size : (m + 1) * size]]
        )
    return steps


def arrays(place, count, case):
    with np.load(place / str(count) / f"{case}.npz") as file:
        return dict(file)


def assert_same_parameters(one, other):
    """Parameters, their average and the statistics within the bound, counters exactly."""
    assert one.keys() == other.keys()
    for part in (".params", ".ema", ".batch_stats"):
        of_part = [name for name in one if name.startswith(part)]
        assert len(of_part) > 20 or part != ".params"
        differences = {name: np.abs(one[name].astype(float) - other[name]).max() for name in of_part}
        if differences:
            worst = max(differences, key=differences.__getitem__)
            print(f"{part}: {differences[worst]:.1e} of {BOUND:.1e} allowed, in {worst}")
            assert differences[worst] < BOUND, worst
    for name in (".step", ".skipped", ".failed_step"):
        if name in one:
            assert one[name] == other[name]


def test_the_processes_are_one_run(pods):
    for count, reports in pods.items():
        assert [report["devices"] for report in reports] == [[DEVICES // count, DEVICES]] * count
        assert [report["lead"] for report in reports] == [True] + [False] * (count - 1)


@pytest.mark.parametrize("count", [2, 4])
def test_the_examples_are_those_of_one_process(pods, count):
    assert examples(pods[count], "replicated") == examples(pods[1], "replicated")
    first, second = examples(pods[count], "replicated")[:2]
    assert first != second


def test_microbatches_hold_the_examples_of_one_process(pods):
    apart = examples(pods[4], "parts", microbatches=2)
    assert apart == examples(pods[1], "parts") == examples(pods[1], "replicated")


@pytest.mark.parametrize("count", [2, 4])
def test_the_parameters_are_those_of_one_process(pods, place, count):
    assert_same_parameters(arrays(place, 1, "replicated"), arrays(place, count, "replicated"))


def test_a_state_split_over_processes_is_that_of_copies_bit_for_bit(pods, place):
    """The order of the sums does not depend on the sharding of the gradients."""
    assert pods[2][0]["split shares"] == [1.0, 4.0]
    copies, split = arrays(place, 2, "replicated"), arrays(place, 2, "split")
    assert copies.keys() == split.keys()
    for name, array in copies.items():
        np.testing.assert_array_equal(split[name], array, err_msg=name)


def test_microbatches_on_a_mesh_of_three_axes_are_those_of_one_process(pods, place):
    assert pods[4][0]["parts shares"] == [1.0, 2.0]
    assert_same_parameters(arrays(place, 1, "parts"), arrays(place, 4, "parts"))


def test_all_processes_see_the_same_losses(pods):
    for case, counts in {"replicated": (1, 2, 4), "parts": (1, 4)}.items():
        losses = {
            count: [[step["loss"] for step in report[case]] for report in pods[count]] for count in counts
        }
        for rows in losses.values():
            assert all(row == rows[0] for row in rows)
            np.testing.assert_allclose(rows[0], losses[1][0], rtol=1e-4)


def test_the_command_trains_the_same_model_in_one_process_and_in_two(place, sounds):
    config = pod_process.experiment(SPLIT, sounds)
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, save_every=3))
    experiment = training_runs.write_experiment(place / "experiment.py", config)
    losses, models = {}, {}
    for count in (1, 2):
        workdir = place / f"run{count}"
        command = ["-m", "audiosep_jax.cli.main", "train", str(experiment), "--workdir", str(workdir)]
        if count > 1:
            command += ["--coordinator", free_address(), "--process-count", str(count)]
        flags = [["--process-index", str(index)] if count > 1 else [] for index in range(count)]
        outputs = at_once([command + flag for flag in flags], count)
        assert "Traceback" not in "".join(outputs)
        lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text("utf-8").splitlines()]
        losses[count] = [line["loss"] for line in lines if "loss" in line]
        models[count] = folder.load(workdir / "checkpoint").variables
    assert len(losses[1]) == len(losses[2]) == STEPS
    np.testing.assert_allclose(losses[2], losses[1], rtol=1e-4)
    one, two = (
        {".params" + jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}
        for leaves in (jax.tree_util.tree_leaves_with_path(models[count]) for count in (1, 2))
    )
    assert_same_parameters(one, two)
