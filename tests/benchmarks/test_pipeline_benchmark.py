import importlib
import statistics
from pathlib import Path

import pytest
from pipelines_sounds import prepared, write_folder

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tones(tmp_path):
    return write_folder(tmp_path / "tones")


@pytest.fixture
def dataset(tones, tmp_path):
    return prepared(tones, tmp_path / "prepared")


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    return importlib.import_module("benchmarks.data_pipeline")


def test_it_prepares_noise_and_prints_a_table(benchmark):
    args = benchmark.BenchmarkArgs(
        sample_rate_hz=8000, segment_seconds=0.5, batch_size=2, batches=1, repeats=2
    )
    printed = benchmark.report(args)
    assert "per core" in printed
    assert "median" in printed


def test_it_measures_a_given_dataset(benchmark, dataset):
    args = benchmark.BenchmarkArgs(
        datasets=(str(dataset),), sample_rate_hz=8000, segment_seconds=1.0, batch_size=2, batches=2, repeats=3
    )
    speeds = benchmark.measure(args)
    assert len(speeds) == 3
    assert all(speed.per_core > 0 and speed.wall > 0 for speed in speeds)


@pytest.mark.slow
def test_a_core_delivers_two_hundred_segments_of_five_seconds_at_32_khz(benchmark, tmp_path):
    noise = benchmark.prepare_noise(tmp_path, sample_rate_hz=32_000)
    speeds = benchmark.measure(benchmark.BenchmarkArgs(datasets=(str(noise),)))
    assert statistics.median(speed.per_core for speed in speeds) >= 200


def test_preparing_is_measured_and_extrapolated(monkeypatch, tones):
    monkeypatch.syspath_prepend(ROOT)
    prepare = importlib.import_module("benchmarks.prepare")
    kinds = tuple(prepare.KINDS)
    args = prepare.BenchmarkArgs(sounds=tones, clips=1, kinds=kinds, repeats=1, rows=1000, total=7200)
    said = prepare.report(args)
    assert all(f"| {kind} | " in said for kind in kinds)
    assert "Planning 1,000 rows" in said
    rate = prepare.Rate(kind="x", clips_per_core_second=2, read_bytes=1e6, stored_bytes=5e8)
    table = prepare.extrapolation([rate], total=7200, cores=(1, 4)).splitlines()
    assert table[-1] == "| x | 3.60 TB | 1 h at 2 MB/s read | 0.25 h at 8 MB/s read |"
