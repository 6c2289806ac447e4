"""The inference engine equals the separator, for both kinds of FiLM and several shapes."""

import functools

import golden
import jax
import numpy as np
import pytest
from drawn_models import MODELS, drawn, noise

from audiosep_jax.config import ModelConfig
from audiosep_jax.models import separator
from audiosep_jax.models.inference import cpu_compile
from audiosep_jax.models.inference import engine as inference


@pytest.mark.parametrize(("name", "shape"), [("shift", (1, 777)), ("scale_shift", (3, 20))])
def test_the_engine_equals_the_model(name, shape):
    config = ModelConfig(sample_rate_hz=8000, **MODELS[name])
    variables = drawn(config)
    mixture, conditions = noise(*shape), noise(shape[0], config.condition_size, seed=1)
    expected = jax.jit(functools.partial(separator.apply, config))(variables, mixture, conditions)
    engine = inference.prepare(config, variables)
    result = cpu_compile.jit(engine.apply)(engine.params, mixture, engine.columns(conditions))
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(result, expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["base", "window1024"])
def test_the_engine_separates_as_the_reference_does(name):
    """The released widths: all but the lowest level go through Winograd's convolution on a processor."""
    engine = inference.prepare(golden.CONFIGS[name], golden.variables(name))
    columns = engine.columns(golden.conditions())
    estimate = cpu_compile.jit(engine.apply)(engine.params, golden.mixtures(), columns)
    error = np.abs(np.asarray(estimate) - golden.record()[f"{name}/waveform_out"])
    assert error.max() < 1e-4, f"{name} differs by {error.max():.1e}"
