"""The train step over four devices: same result as over one, and no audio is gathered."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest
import sharded_step

from audiosep_jax.errors import AudioSepError
from audiosep_jax.train import mesh as meshes

# Unoptimised code compiles faster; how arrays are split over devices is decided before.
FLAGS = "--xla_force_host_platform_device_count=4 --xla_backend_optimization_level=0"


@pytest.fixture(scope="module")
def report():
    devices = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": FLAGS}
    program = [sys.executable, str(Path(__file__).with_name("sharded_step.py"))]
    run = subprocess.run(program, env=os.environ | devices, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


def test_no_all_gather_of_audio(report):
    assert report["devices"] == 4
    assert report["all_reduces"] > 0
    assert report["gathered"] < sharded_step.SAMPLES


def test_a_bare_fft_would_gather_audio(report):
    """What the test above would find without the shard_map around the transforms."""
    assert report["gathered_without_shard_map"] >= sharded_step.BATCH * sharded_step.SAMPLES


def test_four_devices_compute_what_one_does(report):
    assert report["differences"]["loss"] < 1e-5
    assert report["differences"]["gradient_norm"] < 1e-4
    assert report["differences"]["statistics"] < 1e-5
    assert report["differences"]["gradient"] < 1e-3
    assert report["replicated"]


def test_a_batch_that_does_not_divide_is_refused():
    mesh = jax.sharding.AbstractMesh((4,), ("data",))
    meshes.check_batch_size(8, mesh)
    with pytest.raises(AudioSepError, match=r"train\.batch_size 6 cannot be split over 4 devices"):
        meshes.check_batch_size(6, mesh)
