"""The benchmark of separation beside PyTorch, with a twin that a script stands in for."""

import importlib
import importlib.util
import sys
from pathlib import Path

import pytest

from audiosep_jax.errors import AudioSepError

EXPERIMENT = """
from audiosep_jax.config import ExperimentConfig, ModelConfig

CONFIG = ExperimentConfig(
    model=ModelConfig(
        sample_rate_hz=2000, window_length=256, hop_length=80, encoder_widths=(2,) * 6, condition_size=3,
        film=FILM, unused_tensors=False,
    ),
)
"""

# Answers as the twin does, but its estimate is silence.
TWIN = """#!{python}
import json, sys
from pathlib import Path
import numpy as np
folder = Path(sys.argv[2])
print(json.dumps({{}}), flush=True)
for line in sys.stdin:
    job = json.loads(line)
    np.save(folder / job["estimate"], 0 * np.load(folder / job["mixture"]))
    print(json.dumps({{"seconds": 1.0, "peak_bytes": 1}}), flush=True)
"""


@pytest.fixture
def benchmark(monkeypatch):
    root = str(Path(__file__).parents[2])
    monkeypatch.syspath_prepend(root)
    monkeypatch.setenv("PYTHONPATH", root)
    return importlib.import_module("benchmarks.beside_pytorch")


@pytest.fixture
def experiment(tmp_path):
    def write(film="shift"):
        path = tmp_path / "experiment.py"
        path.write_text(EXPERIMENT.replace("FILM", repr(film)), "utf-8")
        return path

    return write


def test_a_model_without_a_twin_is_refused(benchmark, experiment):
    args = benchmark.BenchmarkArgs(experiment=experiment("scale_shift"))
    with pytest.raises(AudioSepError, match="the PyTorch twin is of the released kind of model only"):
        benchmark.measure(args)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="this Python has PyTorch")
def test_missing_pytorch_is_an_error(benchmark, experiment):
    args = benchmark.BenchmarkArgs(experiment=experiment(), short_seconds=1, long_seconds=0)
    with pytest.raises(AudioSepError, match=r"twin ended: this Python has no PyTorch: install it"):
        benchmark.measure(args)


@pytest.mark.slow
def test_twins_that_compute_different_things_are_not_compared(benchmark, experiment, tmp_path):
    twin = tmp_path / "python"
    twin.write_text(TWIN.format(python=sys.executable))
    twin.chmod(0o755)
    args = benchmark.BenchmarkArgs(
        experiment=experiment(), short_seconds=1, long_seconds=0, repeats=1, bfloat16=False, torch_python=twin
    )
    with pytest.raises(AudioSepError, match=r"do not compute the same: they differ by -?0 dB"):
        benchmark.measure(args)


def test_the_table_gives_ratios_to_our_row_above(benchmark):
    def measured(side, seconds, snr_db=None):
        return benchmark.Measurement(
            name="short", side=side, seconds=seconds, peak_bytes=10**9, snr_db=snr_db
        )

    rows = benchmark.table([measured("ours", (1.0, 2.0, 4.0)), measured("PyTorch", (5.0, 5.0), 80.0)])
    assert rows.splitlines()[2] == "| short | ours | 1.00 s | 2.00 s | 4.00 s | 1.00 | 1.00 GB |  |"
    assert rows.splitlines()[3] == "| short | PyTorch | 5.00 s | 5.00 s | 5.00 s | 2.50 | 1.00 GB | 80 dB |"
