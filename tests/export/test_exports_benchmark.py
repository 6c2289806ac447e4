import importlib
from pathlib import Path

import export_models
import pytest


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    return importlib.import_module("benchmarks.exports")


@pytest.mark.slow
def test_both_formats_are_timed_beside_the_live_model(tmp_path, benchmark):
    place = export_models.save(tmp_path, **export_models.BASE)
    timings = benchmark.measure(benchmark.BenchmarkArgs(checkpoint=(place,), seconds=0.1, batch=(1, 2)))
    assert [(one.form, one.batch) for one in timings] == [
        (form, batch) for batch in (1, 2) for form in ("live", "stablehlo", "onnx")
    ]
    assert all(min(one.seconds) > 0 for one in timings)
    assert timings[0].cells()[-1] == "1.00"


def test_the_table_states_spread_and_ratio(benchmark):
    timing = benchmark.Measurement(model="tiny", form="onnx", batch=3, seconds=(0.5, 0.25, 1.0), live=0.25)
    assert benchmark.table([timing]).splitlines()[2:] == ["| tiny | onnx | 3 | 250 | 500 | 1000 | 2.00 |"]
