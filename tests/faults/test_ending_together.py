"""An error in one of two processes ends both at once, with a status on which launchers do not restart."""

import time

import faulty_runs
import pytest

pytestmark = [pytest.mark.pod, pytest.mark.timeout(1500)]

MISTAKE = """
from audiosep_jax.errors import AudioSepError
from audiosep_jax.train import heartbeat
import jax

def refuse(self, *_):
    if jax.process_index() == {index}:
        raise {error}
    return self._audiosep_enter()

heartbeat.Heartbeat._audiosep_enter = heartbeat.Heartbeat.__enter__
heartbeat.Heartbeat.__enter__ = refuse
"""


def ended(experiment_file, workdir, cache):
    """Statuses, outputs, and seconds between the ends of the two processes."""
    processes = faulty_runs.start_together(experiment_file, workdir, 2, cache=cache)
    ends = {}
    began = time.monotonic()
    while len(ends) < 2 and time.monotonic() - began < 900:
        for index, process in enumerate(processes):
            if index not in ends and process.poll() is not None:
                ends[index] = time.monotonic()
        time.sleep(0.05)
    outputs = [process.communicate(timeout=10)[0] for process in processes]
    return [process.returncode for process in processes], outputs, abs(ends[0] - ends[1])


@pytest.mark.parametrize("index", [0, 1], ids=["lead", "other"])
def test_a_mistake_ends_both_with_2(place, dataset, cache, tmp_path, index):
    fault = MISTAKE.format(index=index, error='AudioSepError("the disk of this host is full")')
    experiment = faulty_runs.write(tmp_path / "small.py", faulty_runs.experiment(dataset), fault=fault)
    statuses, outputs, seconds = ended(experiment, tmp_path / "run", cache)
    assert statuses == [2, 2], outputs
    assert "audiosep: error: the disk of this host is full" in outputs[index]
    other = outputs[1 - index]
    assert f"audiosep: error: process {index} stopped: the disk of this host is full" in other
    assert not any("Traceback" in output for output in outputs), outputs
    assert seconds < 30


def test_an_unexpected_error_ends_both_with_1(dataset, cache, tmp_path):
    fault = MISTAKE.format(index=1, error='RuntimeError("unexpected")')
    experiment = faulty_runs.write(tmp_path / "small.py", faulty_runs.experiment(dataset), fault=fault)
    statuses, outputs, seconds = ended(experiment, tmp_path / "run", cache)
    assert statuses == [1, 1], outputs
    assert "RuntimeError: unexpected" in outputs[1]
    assert "process 1 stopped: unexpected" in outputs[0]
    assert seconds < 30


def test_both_refuse_a_work_directory_that_another_run_holds(experiment_file, cache, tmp_path):
    workdir = tmp_path / "run"
    first = faulty_runs.start(experiment_file, workdir, cache=cache)
    faulty_runs.wait_for(lambda: faulty_runs.step_of(workdir) >= 1, first)
    statuses, outputs, seconds = ended(experiment_file, workdir, cache)
    faulty_runs.finished(first)
    assert statuses == [2, 2], outputs
    assert "another process is training in" in outputs[0]
    assert seconds < 30
