import dataclasses
import importlib
from pathlib import Path

import jax
import pytest

from audiosep_jax.errors import AudioSepError


@pytest.fixture
def timing(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    return importlib.import_module("benchmarks.timing")


def test_the_table_states_first_call_spread_and_speed(timing):
    lines = timing.table(
        [
            timing.Timing(name="load", first=1.234),
            timing.Timing(name="separate", first=2, warm=(0.5, 0.25, 1.5), amount=5),
        ],
        speed="× real time",
    ).splitlines()
    assert lines[0] == "|  | first call | min | median | max | × real time |"
    assert lines[2:] == [
        "| load | 1.23 s |  |  |  |  |",
        "| separate | 2.00 s | 250 ms | 500 ms | 1.50 s | 10.0 |",
    ]


def test_the_first_call_is_timed_apart(timing):
    calls = []
    measured = timing.repeated("call", lambda: calls.append(0), repeats=3, amount=2)
    assert (len(calls), len(measured.warm), measured.amount) == (4, 3, 2)
    assert min(measured.first, *measured.warm) >= 0


def test_a_report_follows_the_machine_and_errors_are_one_line(timing, monkeypatch, capsys):
    @dataclasses.dataclass(frozen=True)
    class Args:
        """Nothing to choose."""

    monkeypatch.setattr("sys.argv", ["benchmark"])
    timing.run(lambda args: f"table of {type(args).__name__}", Args)
    shown = capsys.readouterr().out
    assert f"jax {jax.__version__}" in shown
    assert " cores" in shown
    assert shown.endswith("\n\ntable of Args\n")

    def fails(args):
        raise AudioSepError("no such model.")

    with pytest.raises(SystemExit, match="error: no such model"):
        timing.run(fails, Args)
