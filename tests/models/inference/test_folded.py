"""Folded inference equals the separator; other shapes of model are met in tests/export."""

import functools

import jax
import numpy as np
import pytest
from drawn_models import MODELS, SHIFT, drawn, noise

from audiosep_jax.config import ModelConfig
from audiosep_jax.models import separator
from audiosep_jax.models.inference import folded


def test_the_folded_model_equals_the_model():
    config = ModelConfig(sample_rate_hz=8000, **MODELS["shift"])
    variables = drawn(config)
    mixture, condition = noise(2, 777), noise(2, config.condition_size, seed=1)
    expected = jax.jit(functools.partial(separator.apply, config))(variables, mixture, condition)
    params = folded.fold(config, variables)
    result = jax.jit(functools.partial(folded.apply, config))(params, mixture, condition)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(result, expected, atol=1e-5)


@pytest.mark.parametrize("name", ["shift", "scale_shift"])
def test_no_statistics_are_left_and_one_product_projects_all(name):
    config = ModelConfig(**MODELS[name])
    params = folded.fold(config, drawn(config))
    names = {path[-1].key for path, _ in jax.tree_util.tree_leaves_with_path(params)}
    assert names <= {"kernel", "bias", "scale", "shift", "conv1", "conv2", "up"}
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(params))
    # Two norms each in 2 encoders and the bottleneck; three in a decoder: its input, the join, the block.
    norms = (3 + 3) + (3 + 4) + (4 + 4) + (4 + 8 + 4) + (4 + 6 + 3)
    columns = norms * (2 if name == "scale_shift" else 1)
    assert params["film"]["kernel"].shape == (5, columns)
    program = jax.make_jaxpr(functools.partial(folded.core, config))(params, noise(1, 9, 33), noise(1, 5))
    projections = [
        e for e in program.eqns if e.primitive.name == "dot_general" and e.invars[0].aval.ndim == 2
    ]
    assert len(projections) == 1


def test_the_core_gives_a_mask_and_a_rotation():
    config = ModelConfig(**MODELS["scale_shift"])
    params = folded.fold(config, drawn(config))
    core = jax.jit(functools.partial(folded.core, config))
    mask = np.asarray(core(params, np.abs(noise(2, 9, 33)), noise(2, 5)))
    assert mask.shape == (2, 9, 33, 3)
    assert 0 < mask[..., 0].min() < mask[..., 0].max() < 1
    np.testing.assert_allclose(np.hypot(mask[:, :, :-1, 1], mask[:, :, :-1, 2]), 1, atol=1e-4)
    assert not mask[:, :, -1, 1:].any()


def test_rounding_happens_once_and_late():
    # A nearly constant channel: scale 316, whose shift cancels against a large mean in float32 only by luck.
    config = ModelConfig(**SHIFT)
    variables = drawn(config)
    scale = np.float64(variables["params"]["resunet"]["bn0"]["scale"])
    variables["batch_stats"]["resunet"]["bn0"]["var"][:] = 0
    variables["batch_stats"]["resunet"]["bn0"]["mean"][:] = 1234.5
    shift = folded.fold(config, variables)["bn0"]["shift"]
    exact = variables["params"]["resunet"]["bn0"]["bias"] - 1234.5 * scale / np.sqrt(1e-5)
    np.testing.assert_array_equal(shift, np.float32(exact))
