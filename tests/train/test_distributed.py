"""Joining the processes of a run, by flags or by the cluster, and the errors."""

import os
import socket
import subprocess
import sys
import time

import jax
import pytest
import training_runs

from audiosep_jax.cli import main
from audiosep_jax.errors import AudioSepError
from audiosep_jax.train import distributed
from audiosep_jax.train.distributed import DistributedOptions, initialize

CLUSTERS = ("SLURM_", "KUBERNETES_", "JOB_COMPLETION_INDEX", "JAX_COORDINATOR", "TPU_", "OMPI_")


@pytest.fixture
def asked(monkeypatch):
    """The arguments of JAX's `initialize`, without a cluster; it finds no other process."""
    calls = []

    def join(**options):
        calls.append(options)
        if options["coordinator_address"] is None:
            raise ValueError("coordinator_address should be defined.")

    for name in list(os.environ):
        if name.startswith(CLUSTERS):
            monkeypatch.delenv(name)
    monkeypatch.setattr(jax.distributed, "initialize", join)
    return calls


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"coordinator": "host:1234"}, "give all three of --coordinator HOST:PORT --process-index I"),
        ({"process_index": 0, "process_count": 2}, "give all three"),
        ({"process_count": 2}, "give all three"),
        ({"coordinator": "host", "process_index": 0, "process_count": 2}, "'host' is not HOST:PORT"),
        ({"coordinator": "host:", "process_index": 0, "process_count": 2}, "'host:' is not HOST:PORT"),
        ({"coordinator": "h:1", "process_index": 2, "process_count": 2}, "--process-index 2 .* give 0 to 1"),
        ({"coordinator": "h:1", "process_index": -1, "process_count": 2}, "--process-index -1"),
        ({"wait_seconds": 0}, "--wait-seconds is 0"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(options, message):
    with pytest.raises(AudioSepError, match=message):
        DistributedOptions(**options)


def test_without_flags_and_cluster_a_process_is_alone(asked):
    initialize()
    assert [call["coordinator_address"] for call in asked] == [None]
    assert asked[0]["cluster_detection_method"] is None
    assert jax.process_index() == 0
    assert distributed.is_lead()


def test_flags_override_the_cluster(asked, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    monkeypatch.setenv("SLURM_NTASKS", "4")
    initialize(DistributedOptions(coordinator="host:1234", process_index=1, process_count=2))
    (call,) = asked
    assert (call["coordinator_address"], call["process_id"], call["num_processes"]) == ("host:1234", 1, 2)
    assert call["cluster_detection_method"] == "deactivate"
    initialize(DistributedOptions(process_count=1))
    assert len(asked) == 1


def test_a_slurm_job_that_was_not_started_with_srun_is_refused(asked, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    monkeypatch.setenv("SLURM_NTASKS", "4")
    with pytest.raises(AudioSepError, match="has 4 tasks, and this process is not one of them: start"):
        initialize()
    monkeypatch.setenv("SLURM_STEP_NODELIST", "node[1-4]")
    initialize()
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("per_node", "gpus", "devices"),
    [("1(x4)", "8", list(range(8))), ("1", "2", [0, 1]), ("8(x4)", "8", None), ("1(x2),2", "8", None)],
)
def test_a_slurm_task_that_is_alone_on_its_node_has_all_gpus(asked, monkeypatch, per_node, gpus, devices):
    monkeypatch.setenv("SLURM_STEP_TASKS_PER_NODE", per_node)
    monkeypatch.setenv("SLURM_GPUS_ON_NODE", gpus)
    initialize()
    assert asked[0]["local_device_ids"] == devices


def test_a_pod_of_an_indexed_job_needs_the_package_kubernetes(asked, monkeypatch):
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    initialize()  # a pod of no job
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "3")
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    with pytest.raises(AudioSepError, match=r"pip install 'jax\[k8s\]', or give --coordinator"):
        initialize()
    monkeypatch.setenv("TPU_WORKER_HOSTNAMES", "a,b,c,d")
    initialize()
    assert len(asked) == 2


def test_errors_of_jax_about_a_cluster_are_shown(asked, monkeypatch):
    def fail(**_):
        raise RuntimeError("In K8s, cluster automatic bootstrap only supports Job/JobSet.\nMore")

    monkeypatch.setattr(jax.distributed, "initialize", fail)
    with pytest.raises(AudioSepError, match=r"could not be joined \(In K8s, .* Job/JobSet\): .* or give"):
        initialize()


def test_a_process_without_the_others_stops_at_the_timeout(asked, monkeypatch):
    monkeypatch.setattr(jax.distributed, "initialize", lambda **_: time.sleep(5))
    began = time.monotonic()
    with pytest.raises(AudioSepError, match="could not be joined within 1 s: check that all of them"):
        initialize(DistributedOptions(wait_seconds=1))
    assert time.monotonic() - began < 4


def test_the_command_checks_its_flags_before_it_waits(tmp_path, capsys, asked):
    experiment = training_runs.write_experiment(tmp_path / "x.py", training_runs.experiment("none"))
    status = main.main(["train", str(experiment), "--workdir", str(tmp_path / "run"), "--process-index", "1"])
    assert status == 2
    assert "give all three of --coordinator" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.pod
@pytest.mark.parametrize("index", [0, 1])
def test_a_host_without_its_partner_ends_with_one_sentence(tmp_path, index):
    experiment = training_runs.write_experiment(tmp_path / "x.py", training_runs.experiment("none"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "audiosep_jax.cli.main", "train", str(experiment)]
    command += ["--workdir", str(tmp_path / "run"), "--coordinator", f"127.0.0.1:{port}"]
    command += ["--process-index", str(index), "--process-count", "2", "--wait-seconds", "3"]
    run = subprocess.run(command, env=os.environ | {"JAX_PLATFORMS": "cpu"}, capture_output=True, text=True)
    assert run.returncode == 1, run.stderr  # launchers start it again
    assert "audiosep: error: the processes of this run could not be joined within 3 s" in run.stderr
    assert "Traceback" not in run.stderr
    assert not (tmp_path / "run").exists()
