"""Threads of the data pipeline that fail or die: the run reports it, and its last checkpoint is whole."""

import faulty_runs
import pytest

pytestmark = [pytest.mark.pod, pytest.mark.timeout(3000)]

FAULT = """
import os
if os.environ.get("FAULT"):
    _healthy = MixturePipeline._load

    def failing(self, draws):
        if draws[0].step == 17:
            {fault}
        return _healthy(self, draws)

    MixturePipeline._load = failing
"""


@pytest.fixture
def failing(tmp_path, dataset):
    def write(fault):
        config = faulty_runs.experiment(dataset)
        text = faulty_runs.SLOW + FAULT.format(fault=fault)
        return faulty_runs.write(tmp_path / "failing.py", config, fault=text)

    return write


@pytest.mark.parametrize(
    ("fault", "status", "said"),
    [
        ("raise OSError(5, 'Input/output error')", 2, "Input/output error"),
        ("raise SystemExit('the thread dies')", 2, "the thread dies"),
        ("os._exit(77)", 77, ""),
    ],
    ids=["an error", "a thread that dies", "the process dies"],
)
def test_a_worker_that_fails_stops_the_run(undisturbed, failing, cache, tmp_path, fault, status, said):
    workdir = tmp_path / "run"
    file = failing(fault)
    process = faulty_runs.start(file, workdir, cache=cache, FAULT="yes")
    output = process.communicate(timeout=600)[0]
    assert process.returncode == status, output
    assert said in output
    if status == 2:
        assert "audiosep: error: the batch of step " in output
        assert "Traceback" not in output
    assert faulty_runs.checkpoints(workdir)
    assert faulty_runs.checkpoints(workdir)[-1] <= 17
    faulty_runs.finished(faulty_runs.start(file, workdir, cache=cache))
    faulty_runs.assert_same_bits(undisturbed, workdir)
