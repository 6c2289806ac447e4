"""The heartbeat of a process, and the clock of its device."""

import datetime
import json
import os
import threading
import time

import jax
import jax.numpy as jnp
import pytest

from audiosep_jax.train.goodput import Clock, DeviceClock
from audiosep_jax.train.heartbeat import Heartbeat
from audiosep_jax.train.workdir import Workdir


def read(path):
    return json.loads(path.read_text("utf-8"))


def until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_the_heartbeat_holds_the_activity_and_its_start(tmp_path):
    clock = Clock()
    path = tmp_path / "run" / "heartbeats" / "00003.json"
    with Heartbeat(Workdir(tmp_path / "run"), clock, process=3, seconds=0.01):
        until(path.exists)
        assert read(path)["doing"] == "start"
        clock.step = 7
        clock.begin("device")
        moved = time.time()
        until(lambda: read(path)["step"] == 7)
        said = read(path)
        time.sleep(0.05)
        # The thread goes on, but the loop does not move: the file must not look alive.
        assert read(path) == said
    assert (said["process"], said["pid"], said["state"], said["doing"]) == (
        3,
        os.getpid(),
        "running",
        "device",
    )
    since = datetime.datetime.fromisoformat(said["since"])
    assert abs(since.timestamp() - moved) < 2
    assert since.tzinfo is not None
    assert read(path)["state"] == "finished"
    assert os.listdir(path.parent) == [path.name]


def test_a_process_that_ends_with_an_error_says_so(tmp_path):
    with pytest.raises(ValueError, match="x"), Heartbeat(Workdir(tmp_path), Clock(), process=0):
        raise ValueError("x")
    assert read(tmp_path / "heartbeats" / "00000.json")["state"] == "stopped"


def test_a_file_is_always_whole_and_seldom_written(tmp_path):
    clock, path = Clock(), tmp_path / "heartbeats" / "00000.json"
    seen = set()
    with Heartbeat(Workdir(tmp_path), clock, process=0, seconds=0.001):
        until(path.exists)
        for step in range(300):
            clock.step = step
            seen.add(read(path)["step"])
            time.sleep(0.0005)
    assert len(seen) > 10
    versions, clock = 0, Clock()
    with Heartbeat(Workdir(tmp_path), clock, process=0, seconds=60):
        until(lambda: read(path)["state"] == "running")
        written = path.stat().st_mtime_ns
        for step in range(100):
            clock.step = step
            versions += path.stat().st_mtime_ns != written
    assert versions == 0


def test_an_unwritable_heartbeat_does_not_stop_a_run(tmp_path):
    (tmp_path / "heartbeats").write_text("a file where the folder should be")
    called = threading.Event()

    def fail():
        called.set()
        raise OSError("disk full")

    with Heartbeat(Workdir(tmp_path), Clock(), process=0, also=fail, seconds=0.01):
        assert called.wait(20)


def test_the_device_clock_measures_steps_and_not_the_pauses_between(tmp_path):
    @jax.jit
    def work(x):
        return jax.lax.fori_loop(0, 60, lambda _, y: jnp.tanh(y @ y) / 2, x)

    x = jnp.ones((300, 300), jnp.float32)
    work(x).block_until_ready()
    clock, direct = DeviceClock(), 0.0
    for _ in range(4):
        started = time.perf_counter()
        result = work(x)
        clock.dispatched(started, result)
        result.block_until_ready()
        direct += time.perf_counter() - started
        time.sleep(0.1)
    # Two at once: the second waits for the first, which is not counted twice.
    started = time.perf_counter()
    for _ in range(2):
        result = work(x)
        clock.dispatched(started, result)
    result.block_until_ready()
    direct += time.perf_counter() - started
    clock.close()
    # The pauses are 0.4 s.
    assert 0.8 * direct < clock.busy_seconds() < direct + 0.2
    assert 0 < clock.last_seconds < direct
