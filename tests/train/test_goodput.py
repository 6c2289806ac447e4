"""The times of a run, with a clock that the test moves."""

import json
import types

import pytest

from audiosep_jax.train import goodput
from audiosep_jax.train.goodput import Clock, Goodput
from audiosep_jax.train.workdir import Workdir


@pytest.fixture
def time(monkeypatch):
    """A clock that only moves by `time.now += 3`."""
    clock = types.SimpleNamespace(now=1000.0)
    monkeypatch.setattr(goodput.time, "perf_counter", lambda: clock.now)
    monkeypatch.setattr(goodput.time, "time", lambda: 1e9 + clock.now)
    return clock


@pytest.fixture
def workdir(tmp_path):
    return Workdir(tmp_path / "run")


def process(time, workdir, *, first, steps_taken, saved=(), steps=100):
    """One process of a run: 2 s start, 3 s compile, and per step 0.5 s data, 0.25 s host, 1.25 s device."""
    clock = Clock()
    time.now += 2
    told = Goodput(workdir, clock, first=first, steps=steps)
    with clock.doing("compile"):
        time.now += 3
    clock.begin("host")
    for step in range(first, first + steps_taken):
        clock.step = step
        if step in saved:
            with clock.doing("save"):
                time.now += 1
            told.saved(step)
        with clock.doing("data"):
            time.now += 0.5
        time.now += 0.25
        with clock.doing("device"):
            time.now += 1.25
    return told


def record(workdir):
    return json.loads((workdir.path / "goodput.json").read_text())


def test_every_moment_belongs_to_one_activity(time):
    clock = Clock()
    time.now += 1
    with clock.doing("validation"):
        time.now += 2
        with clock.doing("save"):
            time.now += 4
        time.now += 8
        assert clock.now() == ("validation", 1e9 + 1007)
        assert clock.seconds()["validation"] == 10
    time.now += 16
    seconds = clock.seconds()
    assert (seconds["start"], seconds["validation"], seconds["save"]) == (17, 10, 4)
    assert sum(seconds.values()) == 31


def test_an_error_ends_an_activity(time):
    clock = Clock()

    def fail():
        with clock.doing("restore"):
            time.now += 1
            raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        fail()
    time.now += 1
    assert (clock.seconds()["restore"], clock.seconds()["start"]) == (1, 1)


def test_goodput_is_the_share_that_trained(time, workdir):
    told = process(time, workdir, first=0, steps_taken=10, saved=(5,))
    told.write(finished=True)
    kept = record(workdir)
    expected = {"train": 15, "data": 5, "save": 1, "start": 2, "compile": 3}
    assert {name: seconds for name, seconds in kept["seconds"].items() if seconds} == expected
    assert kept["wall_seconds"] == 26
    assert kept["goodput"] == pytest.approx(15 / 26)
    assert (kept["starts"], kept["step"], kept["finished"]) == (1, 9, True)
    assert told.line() == (
        "goodput 57.7 % of 26.0 s, 1 start: train 15.0 s, data 5.0 s, compile 3.0 s, start 2.0 s, save 1.0 s"
    )


def test_steps_after_the_checkpoint_of_a_killed_process_are_lost(time, workdir):
    # It reaches step 10, has saved step 4 and writes the file for the last time; then 60 s pass.
    process(time, workdir, first=0, steps_taken=10, saved=(2, 4)).write()
    time.now += 60
    process(time, workdir, first=4, steps_taken=6).write()
    kept = record(workdir)
    assert kept["seconds"]["lost"] == pytest.approx(6 * 1.5)
    assert kept["seconds"]["train"] == pytest.approx(10 * 1.5)
    assert kept["seconds"]["between_starts"] == 60
    assert kept["seconds"]["compile"] == 6
    assert kept["seconds"]["data"] == 16 * 0.5
    assert kept["starts"] == 2
    # No second is missing, and none counts twice.
    assert kept["wall_seconds"] == pytest.approx(time.now - 1000)
    # A third one begins before the second has saved: all it did is lost as well.
    process(time, workdir, first=4, steps_taken=0).write()
    kept = record(workdir)
    assert kept["seconds"]["train"] == pytest.approx(4 * 1.5)
    assert kept["seconds"]["lost"] == pytest.approx(12 * 1.5)


def test_a_run_without_checkpoint_loses_everything(time, workdir):
    process(time, workdir, first=0, steps_taken=3, saved=(2,)).write()
    process(time, workdir, first=0, steps_taken=1).write()
    assert record(workdir)["seconds"]["lost"] == pytest.approx(3 * 1.5)
    assert record(workdir)["seconds"]["train"] == pytest.approx(1.5)


def test_a_skipped_step_did_not_train(time, workdir):
    told = process(time, workdir, first=0, steps_taken=4)
    told.skipped(1.5)
    assert (told.record()["seconds"]["train"], told.record()["seconds"]["lost"]) == (4.5, 1.5)


def test_a_finished_run_that_is_started_again_keeps_its_record(time, workdir):
    process(time, workdir, first=0, steps_taken=4, saved=(), steps=4).write(finished=True)
    before = record(workdir)
    time.now += 1e6
    process(time, workdir, first=4, steps_taken=0, steps=4).write(finished=True)
    assert record(workdir) == before


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "3",
        '{"seconds": 3}',
        '{"seconds": {"train": "x"}, "trained_until": {}}',
        "null",
        '{"seconds": {}}',
    ],
)
def test_a_damaged_record_starts_from_zero(time, workdir, text):
    (workdir.path / "goodput.json").write_text(text)
    process(time, workdir, first=2, steps_taken=2).write()
    assert record(workdir)["starts"] == 1
    assert record(workdir)["wall_seconds"] == 9
