"""Signals during a training: noted once, the run stops at a step, and handlers are removed."""

import signal
import subprocess
import sys
import threading
import time

import pytest

from audiosep_jax.cli import main
from audiosep_jax.errors import Stopped
from audiosep_jax.train import preemption
from audiosep_jax.train.preemption import noted_preemption


@pytest.fixture(autouse=True)
def usual_handlers():
    """Restores Ctrl-C: a shell that runs the tests in the background has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    signal.signal(signal.SIGINT, before)


def steps_until_stopped(number, *, at=3):
    steps = []
    with noted_preemption() as stop_at:
        for step in range(10):
            if stop_at(step):
                raise_after(steps, stop_at)
            steps.append(step)
            if step == at:
                signal.raise_signal(number)
    return steps


def raise_after(steps, stop_at):
    error = stop_at.stopped()
    error.steps = steps
    raise error


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_step_is_finished_and_the_status_tells_the_signal(number, status):
    with pytest.raises(Stopped) as stopped:
        steps_until_stopped(number)
    assert stopped.value.steps == [0, 1, 2, 3]
    assert 128 + stopped.value.number == status


def test_without_a_signal_nothing_stops():
    assert steps_until_stopped(0, at=None) == list(range(10))


def test_a_signal_that_comes_twice_at_once_counts_once():
    with noted_preemption() as stop_at:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)  # `timeout` tells the process and its group
        assert stop_at(0)
        assert stop_at(1)


def test_a_second_signal_ends_at_once(monkeypatch):
    ended = []
    monkeypatch.setattr(preemption, "end_at_once", ended.append)
    monkeypatch.setattr(preemption, "_SAME_SECONDS", 0.0)
    with noted_preemption() as stop_at:
        signal.raise_signal(signal.SIGINT)
        assert stop_at(0)
        assert ended == []
        signal.raise_signal(signal.SIGTERM)
    assert ended == [signal.SIGTERM]


ENDS = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from audiosep_jax.train import preemption
preemption._SAME_SECONDS = 0.0
with preemption.noted_preemption():
    print("ready", flush=True)
    try:
        while True:
            time.sleep(0.01)
    finally:
        print("unwound", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_the_second_signal_ends_without_unwinding(number):
    process = subprocess.Popen([sys.executable, "-c", ENDS], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    time.sleep(0.2)
    assert process.poll() is None
    process.send_signal(number)
    assert process.communicate(timeout=60)[0] == ""
    assert process.returncode == -number


def test_an_ignored_ctrl_c_stays_ignored_but_sigterm_stops():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with noted_preemption() as stop_at:
            signal.raise_signal(signal.SIGINT)
            assert not stop_at(0)
            signal.raise_signal(signal.SIGTERM)
            assert stop_at(1)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def test_handlers_of_another_program_stay():
    seen = []
    signal.signal(signal.SIGTERM, lambda *_: seen.append(True))
    try:
        with noted_preemption() as stop_at:
            signal.raise_signal(signal.SIGTERM)
            assert not stop_at(0)
        assert seen == [True]
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def test_in_another_thread_nothing_changes():
    answers = []

    def run():
        with noted_preemption() as stop_at:
            answers.append(stop_at(0))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert answers == [False]


def test_handlers_are_removed_when_the_loop_fails():
    with pytest.raises(ZeroDivisionError), noted_preemption():
        raise ZeroDivisionError


@pytest.mark.parametrize("status", [130, 143])
def test_the_command_line_says_which_signal_stopped_a_training(monkeypatch, capsys, status):
    def dispatch(_):
        raise Stopped(status - 128)

    monkeypatch.setattr(main, "_dispatch", dispatch)
    assert main.main(["train"]) == status
    said = {130: "interrupted", 143: "terminated"}[status]
    assert capsys.readouterr().err == f"audiosep: {said}\n"
