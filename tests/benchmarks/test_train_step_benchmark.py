import importlib
import importlib.util
import json
import sys
from pathlib import Path

import pytest

from audiosep_jax.errors import AudioSepError

EXPERIMENT = """
from audiosep_jax.config import ExperimentConfig, MixtureConfig, ModelConfig, OptimizerConfig

CONFIG = ExperimentConfig(
    model=ModelConfig(
        sample_rate_hz=2000, window_length=256, hop_length=80, encoder_widths=(2,) * 6, condition_size=3
    ),
    mixture=MixtureConfig(segment_seconds=0.2),
    optimizer=OptimizerConfig(kind=KIND),
)
"""


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    return importlib.import_module("benchmarks.train_step")


@pytest.fixture
def experiment(tmp_path):
    def write(kind="adamw_amsgrad"):
        path = tmp_path / "experiment.py"
        path.write_text(EXPERIMENT.replace("KIND", repr(kind)), "utf-8")
        return path

    return write


def python_that_answers(folder, answers):
    """A stand-in for a Python with PyTorch: prints a line of JSON, then one for each line that it reads."""
    path = folder / "python"
    lines = [json.dumps(answer) for answer in answers]
    path.write_text(
        f"#!{sys.executable}\nimport sys\nlines = {lines!r}\nprint(lines.pop(0), flush=True)\n"
        "for _ in sys.stdin:\n    print(lines.pop(0), flush=True)\n"
    )
    path.chmod(0o755)
    return path


@pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="this Python has PyTorch")
def test_missing_pytorch_is_an_error(benchmark, experiment):
    args = benchmark.BenchmarkArgs(experiment=experiment(), batch_size=1)
    with pytest.raises(AudioSepError, match=r"no PyTorch: install it .* --torch-python"):
        benchmark.measure(args)


def test_an_experiment_without_a_twin_is_refused(benchmark, experiment):
    args = benchmark.BenchmarkArgs(experiment=experiment("adam"), batch_size=1)
    with pytest.raises(AudioSepError, match="trains with adamw_amsgrad and the l1 loss, not with adam"):
        benchmark.measure(args)


def test_a_python_that_does_not_start_is_named(benchmark, experiment, tmp_path):
    args = benchmark.BenchmarkArgs(experiment=experiment(), batch_size=1, torch_python=tmp_path / "none")
    with pytest.raises(AudioSepError, match="none does not start: No such file"):
        benchmark.measure(args)


@pytest.mark.slow
def test_twins_that_compute_different_things_are_not_compared(benchmark, experiment, tmp_path):
    answers = [{"torch": "0", "threads": 1}, *[{"seconds": 1.0, "loss": 123.0}] * 2]
    twin = python_that_answers(tmp_path, answers)
    args = benchmark.BenchmarkArgs(experiment=experiment(), batch_size=1, repeats=1, torch_python=twin)
    with pytest.raises(AudioSepError, match=r"our first loss is 0\.\d+, PyTorch's 123\.0"):
        benchmark.measure(args)
