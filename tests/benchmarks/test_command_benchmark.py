import importlib
from pathlib import Path

import pytest

from audiosep_jax.errors import AudioSepError


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    return importlib.import_module("benchmarks.command")


@pytest.mark.slow
def test_a_process_is_measured_from_start_to_end(benchmark):
    (runs,) = benchmark.measure(benchmark.BenchmarkArgs(seconds=(1.0,), repeats=1)).values()
    (run,) = runs
    assert run.wall > 0.2
    assert run.cores > 0.2
    assert run.peak_bytes > 100e6  # JAX alone takes more


def test_a_command_that_fails_is_an_error(benchmark, tmp_path):
    args = benchmark.BenchmarkArgs()
    with pytest.raises(AudioSepError, match=r"audiosep separate ended with 2"):
        benchmark.run_command(tmp_path / "none.wav", tmp_path / "out", args)
