"""SIGKILL at random moments: the resumed run ends with the same bits as an undisturbed one."""

import collections
import functools
import random
import shutil
import time

import faulty_runs
import pytest
from faulty_runs import STEPS

KILLS = 20


def reaches(workdir, step):
    return faulty_runs.step_of(workdir) >= step


@pytest.mark.pod
@pytest.mark.timeout(3000)
def test_twenty_kills_leave_no_trace(undisturbed, experiment_file, cache, tmp_path):
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")
    draw = random.Random(seed)
    workdir = tmp_path / "run"
    landed, ended = [], 0
    while len(landed) < KILLS:
        started, before = time.time(), faulty_runs.step_of(workdir)
        process = faulty_runs.start(experiment_file, workdir, cache=cache)
        # Half of them wait for a save that is under way, the others for a step that none accompanies.
        if draw.random() < 0.5:
            saving = functools.partial(faulty_runs.half_written, workdir, since=started)
            faulty_runs.wait_for(saving, process)
            time.sleep(draw.uniform(0, 0.2))
        else:
            reached = functools.partial(reaches, workdir, before + draw.randrange(1, 8))
            faulty_runs.wait_for(reached, process)
            time.sleep(draw.uniform(0, 0.5))
            faulty_runs.wait_for(lambda: not faulty_runs.half_written(workdir), process)
        process.kill()
        output = process.communicate(timeout=600)[0]
        if process.returncode == 0:
            faulty_runs.assert_same_bits(undisturbed, workdir)
            shutil.rmtree(workdir)
            ended += 1
            continue
        assert process.returncode == -9, output
        where = "save" if faulty_runs.half_written(workdir, since=started) else "step"
        landed.append((faulty_runs.step_of(workdir), where))
    print(f"{ended} runs ended before their kill; kills: {landed}")
    counts = collections.Counter(where for _, where in landed)
    assert min(counts["save"], counts["step"]) >= 3, landed
    faulty_runs.finished(faulty_runs.start(experiment_file, workdir, cache=cache))
    assert faulty_runs.step_of(workdir) == STEPS
    faulty_runs.assert_same_bits(undisturbed, workdir)
