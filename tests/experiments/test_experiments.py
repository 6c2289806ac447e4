"""The experiments next to the numbers of the article, the released checkpoint and DCASE."""

import importlib
import math
import pkgutil
from pathlib import Path

import pytest

import experiments
from audiosep_jax.config import ExperimentConfig
from audiosep_jax.config.loading import load_experiment
from audiosep_jax.models import separator
from audiosep_jax.train.optimizer import make_schedule
from audiosep_jax.utils.serialization import from_dict, to_dict
from experiments import base, dcase, paper, tiny

FILES = [
    importlib.import_module(f"experiments.{module.name}")
    for module in pkgutil.iter_modules(experiments.__path__)
]
EXPERIMENTS = [module for module in FILES if hasattr(module, "CONFIG")]


def parameters(config):
    shapes = separator.flat_shapes(config.model)
    return sum(math.prod(shape) for path, shape in shapes.items() if path[0] == "params")


@pytest.mark.parametrize(
    ("experiment", "count"), [(base, 26_447_941), (paper, 150_949_381), (dcase, 26_446_917)]
)
def test_parameters_are_counted(experiment, count):
    assert parameters(experiment.CONFIG) == count


def test_the_bundled_model_is_small():
    assert parameters(tiny.CONFIG) < 5_000_000


@pytest.mark.parametrize(
    ("experiment", "rate_hz", "seconds", "window", "hop", "batch"),
    [(base, 32_000, 5, 2048, 320, 96), (paper, 32_000, 5, 1024, 320, 96), (dcase, 16_000, 10, 1024, 160, 16)],
)
def test_signal_and_batch(experiment, rate_hz, seconds, window, hop, batch):
    config = experiment.CONFIG
    model, mixture = config.model, config.mixture
    assert (model.sample_rate_hz, model.window_length, model.hop_length) == (rate_hz, window, hop)
    assert (mixture.segment_seconds, mixture.sources, mixture.gain_range_db) == (seconds, 2, (-10, 10))
    assert (config.train.batch_size, config.train.loss) == (batch, "l1")
    assert (model.film, model.condition_size, model.magnitude_power) == ("shift", 512, 1)


def test_widths_and_bottleneck():
    released, article = (32, 64, 128, 256, 384, 384), (32, 64, 128, 256, 512, 1024)
    shapes = [(e.CONFIG.model.encoder_widths, e.CONFIG.model.bottleneck_blocks) for e in (base, paper, dcase)]
    assert shapes == [(released, 1), (article, 4), (released, 1)]


@pytest.mark.parametrize("experiment", [base, dcase])
def test_the_released_optimizer_and_schedule(experiment):
    optimizer = experiment.CONFIG.optimizer
    assert (optimizer.kind, optimizer.weight_decay) == ("adamw_amsgrad", 0)
    assert (optimizer.beta1, optimizer.beta2, optimizer.epsilon) == (0.9, 0.999, 1e-8)
    schedule = make_schedule(optimizer, experiment.CONFIG.train.steps)
    rates = [float(schedule(step)) for step in (0, 10_000, 20_000, 30_000, 100_000)]
    assert rates == pytest.approx([1e-6, 1e-5, 1e-4, 1e-3, 1e-3])


def test_the_articles_optimizer():
    optimizer = paper.CONFIG.optimizer
    assert optimizer.kind == "adam"
    schedule = make_schedule(optimizer, paper.CONFIG.train.steps)
    assert [float(schedule(step)) for step in (0, 900_000)] == pytest.approx([1e-3, 1e-3])


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda module: module.__name__)
def test_every_experiment_is_complete(experiment):
    config = experiment.CONFIG
    assert load_experiment(Path(experiment.__file__)) == config
    assert from_dict(ExperimentConfig, to_dict(config)) == config
    assert all(entry.startswith("data/") for entry in (*config.data.datasets, *config.data.validation))
    assert f"audiosep train experiments/{experiment.__name__.rpartition('.')[2]}.py" in experiment.__doc__
