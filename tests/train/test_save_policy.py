"""When a run is saved, which checkpoints are kept, and the error of a failed save."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from test_run_checkpoints import CONFIG, assert_holds, restore, save, state_of

from audiosep_jax.errors import AudioSepError, TransientError
from audiosep_jax.train import checkpoint
from audiosep_jax.train.checkpoint import RunCheckpoints, SaveInterval


def with_train(**values):
    return dataclasses.replace(CONFIG, train=dataclasses.replace(CONFIG.train, **values))


class Time:
    """A clock that the test moves; it counts its reads."""

    def __init__(self):
        self.now, self.looks = 1000.0, 0

    def __call__(self):
        self.looks += 1
        return self.now


def test_due_by_save_every_and_by_keep_every(tmp_path):
    checkpoints = RunCheckpoints(tmp_path, with_train(save_every=4, keep_every=6))
    assert [step for step in range(17) if checkpoints.due(step)] == [4, 6, 8, 12, 16]
    checkpoints.close()


def test_due_by_time_counts_from_the_last_save(tmp_path):
    time = Time()
    checkpoints = RunCheckpoints(tmp_path, with_train(save_every=1000, save_minutes=2), clock=time)
    saved = []
    for step in range(400):
        if checkpoints.due(step):
            saved.append(step)
            checkpoints._interval.restart(step)  # as a save does, without the writing
        time.now += 1.0
    assert saved == [120, 240, 360]
    checkpoints.close()


def test_broadcasts_are_rare_and_in_time(monkeypatch):
    time, told = Time(), []
    monkeypatch.setattr(checkpoint, "from_lead", lambda value: told.append(value) or value)
    interval = SaveInterval(10, step=0, clock=time)
    step = 0
    time.now += 60  # the first step compiles
    while not interval.passed(step := step + 1):
        time.now += 0.5
    late = time.now - 1000 - 600
    assert 0 <= late <= 0.5
    assert len(told) < 20
    # A process whose clock stands still does as the lead says.
    other = SaveInterval(10, step=0, clock=Time())
    answers = iter(told)
    monkeypatch.setattr(checkpoint, "from_lead", lambda _: next(answers))
    assert [asked for asked in range(1, step + 1) if other.passed(asked)] == [step]


def test_without_minutes_no_clock_is_read(tmp_path):
    time = Time()
    checkpoints = RunCheckpoints(tmp_path, CONFIG, clock=time)
    looks = time.looks
    assert not any(checkpoints.due(step) for step in range(1, CONFIG.train.save_every))
    assert time.looks == looks
    checkpoints.close()


def test_a_restored_step_is_not_saved_again(tmp_path):
    config = with_train(save_every=3)
    save(tmp_path, 6, config=config)
    checkpoints = RunCheckpoints(tmp_path, config)
    assert checkpoints.latest_step() == 6
    assert [step for step in range(6, 10) if checkpoints.due(step)] == [9]
    checkpoints.close()


def test_steps_of_keep_every_stay_for_ever_beside_the_recent_ones(tmp_path):
    config = with_train(keep_every=4, keep_checkpoints=1)
    save(tmp_path, 2, 4, 6, 8, 9, 10, config=config)
    names = sorted(int(path.name) for path in (tmp_path / "checkpoints").iterdir())
    assert names == [4, 8, 10]


def test_half_written_checkpoints_are_deleted_at_the_next_save(tmp_path):
    folder = tmp_path / "checkpoints"
    save(tmp_path, 3)
    for name in ("5.orbax-checkpoint-tmp", "1.deleted"):
        (folder / name / "state").mkdir(parents=True)
    save(tmp_path, 5)
    assert sorted(path.name for path in folder.iterdir()) == ["3", "5"]


def test_an_error_of_the_background_is_raised_at_the_next_step(tmp_path, monkeypatch):
    config = with_train(save_every=100)
    checkpoints = RunCheckpoints(tmp_path, config)
    checkpoints.save(state_of(1), step=1)
    checkpoints._wait()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints._saver, "wait_until_finished", full)
    checkpoints._finishing = None
    checkpoints._finish(2)
    with pytest.raises(AudioSepError) as error:
        checkpoints.due(3)
    said = str(error.value)
    assert "the checkpoint of step 2 could not be written" in said
    assert "No space left on device" in said
    assert said.endswith("it resumes from the checkpoint of step 1.")
    monkeypatch.undo()
    with pytest.raises(AudioSepError):
        checkpoints.close()
    assert restore(tmp_path, config)[1] == 1


def test_a_missing_process_is_not_reported_as_a_storage_error(tmp_path, monkeypatch):
    checkpoints = RunCheckpoints(tmp_path, CONFIG)
    checkpoints._failure = (6, ValueError("UNKNOWN: Gloo AllGather failed: Connection reset by peer."))
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(TransientError, match=r"step 6 is not finished, because another process .* is gone"):
        checkpoints.due(7)
    checkpoints._failure = (6, OSError(28, "No space left on device"))
    with pytest.raises(AudioSepError, match="No space left on device"):
        checkpoints.due(7)
    checkpoints._failure = None
    checkpoints.close()


FILL = """
import resource, signal, sys
sys.path.insert(0, {tests!r})
from test_run_checkpoints import CONFIG, RunCheckpoints, state_of
from audiosep_jax.errors import AudioSepError
checkpoints = RunCheckpoints({workdir!r}, CONFIG)
checkpoints.save(state_of(1), step=1)
checkpoints._wait()
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, resource.RLIM_INFINITY))
try:
    checkpoints.save(state_of(2), step=2)
    for step in range(3, 1000):
        checkpoints.due(step)
        checkpoints._finishing.join(0.01)
except AudioSepError as error:
    print(step if "step" in globals() else 2, error)
"""


@pytest.mark.parametrize("limit", [0, pytest.param(200, marks=pytest.mark.pod), 1500])
def test_a_full_disk_keeps_the_checkpoint_before(tmp_path, limit):
    """The limit is hit by the first file, by an array, or by the metadata at the end."""
    code = FILL.format(tests=str(Path(__file__).parent), workdir=str(tmp_path), limit=limit)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    said = done.stdout
    assert done.stderr == ""
    assert "the checkpoint of step 2 could not be written" in said, said + done.stderr
    assert "File too large" in said
    assert said.rstrip().endswith("it resumes from the checkpoint of step 1.")
    state, step = restore(tmp_path)
    assert step == 1
    assert_holds(state, 1)
    # With room again the run resumes there, and the half-written checkpoint is gone.
    save(tmp_path, 2)
    assert_holds(restore(tmp_path)[0], 2)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["1", "2"]
