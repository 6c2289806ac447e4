import importlib
from pathlib import Path

import pytest

EXPERIMENT = """
from audiosep_jax.config import ExperimentConfig, ModelConfig

CONFIG = ExperimentConfig(
    model=ModelConfig(
        sample_rate_hz=2000, window_length=64, hop_length=20, encoder_widths=(2, 2), condition_size=3
    ),
)
"""


@pytest.mark.slow
def test_every_part_of_the_model_has_its_time(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    benchmark = importlib.import_module("benchmarks.profile")
    (tmp_path / "experiment.py").write_text(EXPERIMENT, "utf-8")
    args = benchmark.BenchmarkArgs(experiment=tmp_path / "experiment.py", seconds=1, repeats=1)
    report = benchmark.report(args)
    parts = {line.split(" | ")[0].removeprefix("| ") for line in report.splitlines()[2:]}
    model = {"stft", "encoder1", "encoder2", "bottleneck1", "decoder1", "decoder2", "istft", "the model"}
    assert model | {"reading", "resampling there and back", "writing both results"} <= parts
