"""The comparison of windows: one mixture of the bundled clips, and its table."""

import importlib
from pathlib import Path

import pytest


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    return importlib.import_module("benchmarks.windows")


@pytest.mark.slow
def test_one_mixture_is_separated_with_every_kind_of_windows(benchmark):
    (measurement,) = benchmark.measure(benchmark.BenchmarkArgs(seconds=12, mixtures=1))
    assert measurement.target != measurement.interferer
    assert set(measurement.si_sdr_db) == {"whole", "ours", "upstream"}
    assert measurement.off_whole_db["whole"] == -float("inf")
    assert measurement.off_whole_db["ours"] < 0 > measurement.off_whole_db["upstream"]


def test_the_table_compares_with_the_whole(benchmark):
    measurements = [
        benchmark.Measurement(
            target=target,
            interferer="rain",
            si_sdr_db={"whole": 1.0, "ours": 1.0 + offset, "upstream": 2.0 + offset},
            off_whole_db={"whole": -float("inf"), "ours": -50.0, "upstream": -20.0 - offset},
        )
        for target, offset in (("dog", 0.0), ("cat", 0.5))
    ]
    lines = benchmark.table(measurements).splitlines()
    assert lines[2] == "| none: the whole | 1.00 dB |  |  |  |"
    assert lines[3] == "| ours | 1.25 dB | +0.25 dB (+0.00 … +0.50) | -50.0 dB | -50.0 dB |"
    assert lines[4] == "| upstream | 2.25 dB | +1.25 dB (+1.00 … +1.50) | -20.2 dB | -20.0 dB |"
