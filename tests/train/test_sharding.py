"""The train step over eight devices: same result as over one, and no audio moves between them."""

import json
import os
import subprocess
import sys

import jax
import pytest
import sharded_step

# Unoptimised code compiles faster; how arrays are split over devices is decided before.
FLAGS = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"


def reports_of(*cases):
    devices = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": FLAGS}
    program = [sys.executable, sharded_step.__file__, *cases]
    run = subprocess.run(program, env=os.environ | devices, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def reports():
    return reports_of("alone", "data", "without shard_map", "gathered")


@pytest.fixture(scope="module")
def split_reports():
    return reports_of("alone", "fsdp", "all fsdp")


@pytest.fixture(scope="module")
def parts_reports():
    return reports_of("alone in parts", "in parts", "fsdp in parts")


def assert_only_reductions(report):
    """Only gradients (each number once), sums per channel and scalars are summed over devices."""
    tensors, statistics = report["tensors"], report["statistics"]
    summed = report["moved"]["all-reduce"]
    assert max(summed) <= max(tensors) < sharded_step.SAMPLES
    # Mean and variance of each channel forwards, and what flows back through the two.
    assert sum(tensors) <= sum(summed) <= sum(tensors) + 2 * sum(statistics) + summed.count(1)
    assert summed.count(1) < 2 * len(tensors)


def assert_same_result(report):
    differences = report["differences"]
    assert differences["loss"] < 1e-5
    assert differences["gradient_norm"] < 1e-4
    assert differences["statistics"] < 1e-5
    assert differences["gradient"] < 1e-3
    assert report["stays"]


def test_only_gradients_and_statistics_are_summed_over_devices(reports):
    report = reports["data"]
    assert report["devices"] == 8
    assert set(report["moved"]) == {"all-reduce"}
    assert_only_reductions(report)
    assert report["split"] == 0


def test_gathered_audio_would_be_found(reports):
    """The test above would fail if every device got all audio for its transforms."""
    audio = sharded_step.BATCH * sharded_step.SAMPLES
    assert max(reports["gathered"]["moved"]["all-gather"]) >= audio


def test_xla_gathers_audio_for_a_bare_fft_before_jax_0_12(reports):
    """On a CPU, jax 0.12 splits a bare FFT over devices itself; earlier versions gather its operand."""
    audio = sharded_step.BATCH * sharded_step.SAMPLES
    gathered = max(reports["without shard_map"]["moved"].get("all-gather", [0])) >= audio
    assert gathered == (jax.__version_info__ < (0, 12))


def test_eight_devices_compute_what_one_does(reports):
    assert_same_result(reports["data"])


@pytest.mark.pod
@pytest.mark.parametrize("name", ["fsdp", "all fsdp"])
def test_with_fsdp_parameters_are_gathered_and_nothing_else(split_reports, name):
    report = split_reports[name]
    assert set(report["moved"]) <= {"all-reduce", "all-gather", "reduce-scatter"}
    gathered, kernels = report["moved"]["all-gather"], list(report["tensors"])
    for size in gathered:
        kernels.remove(size)  # each once: a ValueError names what is no parameter, or is gathered twice
    assert_only_reductions(report)
    # Parameters and three moments: all that is gathered lies split, nothing else does.
    assert report["split"] == 4 * len(gathered) > 0


@pytest.mark.pod
@pytest.mark.parametrize("name", ["fsdp", "all fsdp"])
def test_split_parameters_are_those_of_one_device(split_reports, name):
    assert_same_result(split_reports[name])


@pytest.mark.pod
@pytest.mark.parametrize("name", ["in parts", "fsdp in parts"])
def test_no_example_moves_to_make_a_microbatch(parts_reports, name):
    report = parts_reports[name]
    assert set(report["moved"]) <= {"all-reduce", "all-gather", "reduce-scatter"}
    assert set(report["moved"].get("all-gather", [])) <= set(report["tensors"])
    assert_only_reductions(report)


@pytest.mark.pod
@pytest.mark.parametrize("name", ["in parts", "fsdp in parts"])
def test_microbatches_are_the_same_on_eight_devices_as_on_one(parts_reports, name):
    assert_same_result(parts_reports[name])
