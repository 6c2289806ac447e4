"""The comparison of levels: one mixture of the demo, and its tables."""

import importlib
from pathlib import Path

import pytest


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    return importlib.import_module("benchmarks.levels")


@pytest.mark.slow
def test_the_bundled_model_separates_quiet_recordings_as_loud_ones(benchmark):
    few = {"gains_db": (-40, -20, 0), "levels_db": (-28,), "mixtures": 3}
    by_gain, by_level = benchmark.measure(benchmark.BenchmarkArgs(**few))
    live, _ = benchmark.measure(benchmark.BenchmarkArgs(live=True, **few))
    assert live[-40]["working"] == pytest.approx(live[0]["working"], abs=0.01)
    working = [found["working"] for found in by_gain.values()]
    assert max(working) - min(working) < 0.01
    assert by_gain[-40]["as_is"] < working[0] - 1
    assert by_level[-28] == pytest.approx(working[-1], abs=0.01)


def test_the_tables_have_a_row_per_gain_and_level(benchmark):
    lines = benchmark.table({-40.0: {"as_is": 2.5, "working": 6.31}}, {-28.0: 6.37}).splitlines()
    assert lines[2] == "| -40 dB | 2.50 dB | 6.31 dB |"
    assert lines[-1] == "| -28 dBFS | 6.37 dB |"
