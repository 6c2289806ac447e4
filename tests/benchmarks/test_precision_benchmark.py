import importlib
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from drawn_models import drawn, noise

from audiosep_jax.config import ModelConfig
from audiosep_jax.models.inference import winograd


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    return importlib.import_module("benchmarks.precision")


def test_rounding_costs_tens_of_decibels(benchmark):
    config = ModelConfig(window_length=64, hop_length=20, encoder_widths=(3, 4), condition_size=5)
    mixture, condition = noise(700), noise(5, seed=1)
    ratios = benchmark.ratios_db(config, drawn(config), mixture, condition)
    assert ratios["float32, Winograd"] > 100
    assert 10 < ratios["bfloat16 operands"] < 70


def test_winograds_products_are_rounded_only_inside_the_context(benchmark):
    left, right = (jnp.asarray(noise(36, 8, 8, seed=seed)) for seed in (0, 1))
    exact = winograd.multiply(left, right)
    with benchmark.rounded_operands():
        rounded = winograd.multiply(left, right)
    assert 1e-4 < np.abs(rounded - exact).max() < 0.1
    assert np.array_equal(winograd.multiply(left, right), exact)
