"""The same runs by Ray: needs the extra `ray`."""

import gc
import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sweep_folders import EXECUTION, log, small_sweep, write_sweep
from test_runner import outcomes, quiet, trains, wait_for

from audiosep_jax.errors import AudioSepError
from audiosep_jax.sweeps.runner import run_sweep

HELPERS = Path(__file__).parents[1] / "helpers"

pytestmark = [
    pytest.mark.extras,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="the extra ray is not installed"),
    # Ray's own: it asks for a setting that its next release will have by itself, and leaves files open.
    pytest.mark.filterwarnings("ignore::FutureWarning:ray"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def cluster():
    """A cluster of this machine with room for two runs, for all tests of this file; gives its address."""
    import ray

    yield ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False).address_info["address"]
    ray.shutdown()
    gc.collect()  # Ray leaves files and processes to it, which must not come up in a later test


@pytest.mark.usefixtures("cluster")
def test_ray_runs_the_same_and_a_failed_cell_does_not_stop_others(tmp_path):
    sweep, directory = small_sweep(tmp_path, "base", "broken", "better"), tmp_path / "out"
    execution = EXECUTION(executor="ray", resources={"CPU": 1})
    done = run_sweep(sweep, directory, execution=execution, say=quiet)
    assert outcomes(done) == {
        "base seed 0": "finished",
        "broken seed 0": "failed",
        "better seed 0": "finished",
    }
    (failed,) = (one for one in done if one.outcome == "failed")
    assert failed.reason == "the clips of broken are gone. (exit status 2)"
    assert "evaluates" in log(directory, "better")
    # Runs that Ray finished are finished for local processes, too.
    again = run_sweep(small_sweep(tmp_path, "base", "better"), directory, execution=EXECUTION(), say=quiet)
    assert set(outcomes(again).values()) == {"skipped", "finished"}


@pytest.mark.usefixtures("cluster")
def test_resources_that_no_machine_has_are_refused(tmp_path):
    execution = EXECUTION(executor="ray", resources={"TPU": 4})
    with pytest.raises(AudioSepError, match=r"--resources TPU=4: no machine .* its machines have .*CPU"):
        run_sweep(small_sweep(tmp_path, "base"), tmp_path / "out", execution=execution, say=quiet)


def test_a_signal_stops_the_runs_of_ray_and_they_resume(tmp_path, cluster):
    sweep = small_sweep(tmp_path, "base", steps=500)
    file, directory = write_sweep(tmp_path / "sweep.py", sweep), tmp_path / "out"
    arguments = ["sweep", str(file), "--workdir", str(directory), "--executor", "ray", "--resources", "CPU=1"]
    path = os.environ.get("PYTHONPATH", "")
    process = subprocess.Popen(
        [sys.executable, str(HELPERS / "run_fake_sweep.py"), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": f"{HELPERS}:{path}", "RAY_ADDRESS": cluster},
    )
    wait_for(lambda: trains(directory, "base"), seconds=240)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=240)
    assert process.returncode == 143, said
    assert "saved at step" in log(directory, "base")
    done = run_sweep(small_sweep(tmp_path, "base", steps=500), directory, execution=EXECUTION(), say=quiet)
    assert outcomes(done) == {"base seed 0": "finished"}
    saved = log(directory, "base").split("saved at step ")[1].split()[0]
    assert f"trains from step {saved}\n" in log(directory, "base")
