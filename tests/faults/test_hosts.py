"""Runs of two processes: a signal to one stops both at the same step, and other processes resume the run."""

import re
import signal
import time

import faulty_runs
import pytest
from faulty_runs import STEPS

pytestmark = [pytest.mark.pod, pytest.mark.timeout(3000)]


@pytest.fixture(scope="module")
def undisturbed_pair(place, experiment_file, cache):
    workdir = place / "pair"
    faulty_runs.finished(*faulty_runs.start_together(experiment_file, workdir, 2, cache=cache))
    return workdir


def stopped(experiment_file, workdir, cache, *, signals, after=5, wait=600):
    """Statuses and outputs of two processes that got signals, given as (process, signal)."""
    processes = faulty_runs.start_together(experiment_file, workdir, 2, cache=cache)
    faulty_runs.wait_for(lambda: faulty_runs.step_of(workdir) >= after, processes[0])
    for index, number in signals:
        processes[index].send_signal(number)
    began = time.monotonic()
    outputs = [process.communicate(timeout=wait)[0] for process in processes]
    print(f"stopped {time.monotonic() - began:.1f} s after the signal")
    return [process.returncode for process in processes], outputs


@pytest.mark.parametrize(
    ("signals", "statuses"),
    [
        ([(1, signal.SIGTERM)], [143, 143]),
        ([(0, signal.SIGTERM), (1, signal.SIGTERM)], [143, 143]),
        ([(0, signal.SIGINT)], [130, 143]),
    ],
    ids=["SIGTERM to one", "SIGTERM to all", "Ctrl-C to one"],
)
def test_a_signal_stops_both_at_one_step(
    undisturbed_pair, experiment_file, cache, tmp_path, signals, statuses
):
    workdir = tmp_path / "run"
    codes, outputs = stopped(experiment_file, workdir, cache, signals=signals)
    assert codes == statuses, outputs
    assert not any("Traceback" in output for output in outputs), outputs
    reached = faulty_runs.step_of(workdir)
    assert reached < STEPS
    # All that was done is saved, to the last step.
    assert faulty_runs.checkpoints(workdir)[-1] == reached
    faulty_runs.finished(*faulty_runs.start_together(experiment_file, workdir, 2, cache=cache))
    faulty_runs.assert_same_bits(undisturbed_pair, workdir)


def test_a_run_resumes_with_other_processes_and_another_mesh(
    undisturbed_pair, experiment_file, cache, tmp_path
):
    """Two processes stop; one with two devices resumes, split over fsdp, with the same examples."""
    workdir = tmp_path / "run"
    codes, outputs = stopped(experiment_file, workdir, cache, signals=[(1, signal.SIGTERM)])
    assert codes == [143, 143], outputs
    more = faulty_runs.start(experiment_file, workdir, "--set", "mesh.fsdp=2", cache=cache, devices=2)
    faulty_runs.finished(more)
    assert list(faulty_runs.losses(workdir)) == list(range(1, STEPS + 1))
    # Two devices sum in one order, whichever process has them and whoever keeps which share of the state.
    faulty_runs.assert_same_bits(undisturbed_pair, workdir)


def test_a_killed_host_ends_the_other_and_the_run_resumes(undisturbed_pair, experiment_file, cache, tmp_path):
    workdir = tmp_path / "run"
    codes, outputs = stopped(experiment_file, workdir, cache, signals=[(1, signal.SIGKILL)], wait=600)
    assert codes[1] == -signal.SIGKILL
    assert codes[0] not in (0, 2), outputs[0]
    print(re.sub(r"(?s)^(.{1500}).*", r"\1", outputs[0]))
    faulty_runs.finished(*faulty_runs.start_together(experiment_file, workdir, 2, cache=cache))
    faulty_runs.assert_same_bits(undisturbed_pair, workdir)
