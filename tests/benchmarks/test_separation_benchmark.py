import importlib
from pathlib import Path

import jax
import pytest

from audiosep_jax.checkpoints import folder
from audiosep_jax.config import ExperimentConfig, MixtureConfig, ModelConfig, OptimizerConfig
from audiosep_jax.models import separator


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    return importlib.import_module("benchmarks.separation")


@pytest.mark.slow
def test_each_kind_of_call_is_timed(tmp_path, benchmark):
    config = ExperimentConfig(
        model=ModelConfig(
            sample_rate_hz=2000, window_length=64, hop_length=16, encoder_widths=(2, 2), condition_size=3
        ),
        mixture=MixtureConfig(segment_seconds=0.2),
        optimizer=OptimizerConfig(kind="adamw"),
    )
    folder.save(tmp_path, config, separator.init(config.model, jax.random.key(0)))
    args = benchmark.BenchmarkArgs(checkpoint=tmp_path, seconds=(0.5,), repeats=2, batch_size=1)
    with jax.numpy_dtype_promotion("standard"):  # Optax's Adam promotes
        timings = benchmark.measure(args)
    names = [timing.name for timing in timings]
    assert names == ["load the model", "separate 0.5 s", "train step, 1 × 0.2 s"]
    for timing in timings[1:]:
        assert len(timing.warm) == 2
        # Compilation is in the first call and in no other.
        assert timing.first > max(timing.warm) > 0
