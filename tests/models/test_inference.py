"""The inference engine equals the separator, for both kinds of FiLM and several shapes."""

import functools

import golden
import jax
import numpy as np
import pytest

from audiosep_jax.config import ModelConfig
from audiosep_jax.models import inference, separator

SHIFT = {"window_length": 64, "hop_length": 20, "encoder_widths": (3, 4), "condition_size": 5}
MODELS = {
    "shift": {**SHIFT, "magnitude_power": 0.3},
    "scale_shift": {**SHIFT, "film": "scale_shift", "unused_tensors": False},
}


def drawn(config, seed=0):
    """Variables with statistics, signs and biases unlike those of a fresh model."""
    draw = np.random.default_rng(seed)

    def values(path, leaf):
        if path[-1].key == "var":
            return draw.uniform(0.2, 3, leaf.shape).astype(np.float32)
        if path[-1].key == "scale":
            return draw.uniform(-1.5, 1.5, leaf.shape).astype(np.float32)
        spread = 1 / np.sqrt(np.prod(leaf.shape[:-1])) if leaf.ndim > 1 else 0.4
        return (draw.normal(size=leaf.shape) * spread).astype(np.float32)

    return jax.tree_util.tree_map_with_path(values, separator.shapes(config))


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32) / 3


@pytest.mark.parametrize(("name", "shape"), [("shift", (1, 777)), ("scale_shift", (3, 20))])
def test_the_engine_is_the_model(name, shape):
    config = ModelConfig(sample_rate_hz=8000, **MODELS[name])
    variables = drawn(config)
    mixture, conditions = noise(*shape), noise(shape[0], config.condition_size, seed=1)
    expected = jax.jit(functools.partial(separator.apply, config))(variables, mixture, conditions)
    engine = inference.prepare(config, variables)
    result = engine.separate(mixture, engine.columns(conditions))
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(result, expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["base", "window1024"])
def test_the_engine_separates_as_the_reference_does(name):
    """The released widths: all but the lowest level go through Winograd's convolution on a processor."""
    engine = inference.prepare(golden.CONFIGS[name], golden.variables(name))
    estimate = engine.separate(golden.mixtures(), engine.columns(golden.conditions()))
    error = np.abs(np.asarray(estimate) - golden.record()[f"{name}/waveform_out"])
    assert error.max() < 1e-4, f"{name} differs by {error.max():.1e}"
