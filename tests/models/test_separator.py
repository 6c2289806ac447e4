"""The separator: any batch and length, four configs, a pinned tree, fresh values."""

import dataclasses
import functools
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from parameter_trees import FILE, MODELS, tree

from audiosep_jax.config import ModelConfig
from audiosep_jax.models import separator
from experiments import base, dcase, paper, tiny

SMALL = ModelConfig(
    sample_rate_hz=8000, window_length=64, hop_length=20, encoder_widths=(3, 4), condition_size=5
)


@pytest.fixture(scope="module")
def variables():
    """The small model's variables, with other running statistics than a fresh model's."""
    fresh = separator.init(SMALL, jax.random.key(0))
    draw = np.random.default_rng(0)
    stats = jax.tree.map(lambda x: jnp.float32(draw.uniform(0.5, 1.5, x.shape)), fresh["batch_stats"])
    return {"params": fresh["params"], "batch_stats": stats}


@functools.cache
def compiled(config):
    return jax.jit(functools.partial(separator.apply, config))


def apply(variables, mixture, condition, *, config=SMALL):
    return np.asarray(compiled(config)(variables, mixture, condition))


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32) / 4


@pytest.mark.parametrize("name", list(MODELS))
def test_names_and_shapes_of_the_tree_are_the_pinned_ones(name):
    pinned = json.loads(FILE.read_text("utf-8"))[name]
    assert tree(MODELS[name]) == pinned, f"checkpoints of before would not load; if that is meant: {FILE}"


@pytest.mark.parametrize("experiment", [base, paper, dcase, tiny], ids=lambda module: module.__name__)
def test_four_configs_make_the_same_model(experiment):
    config = experiment.CONFIG.model
    variables = separator.shapes(config)
    mixture = jax.ShapeDtypeStruct((2, config.sample_rate_hz), jnp.float32)
    condition = jax.ShapeDtypeStruct((2, config.condition_size), jnp.float32)
    for function in (separator.apply, separator.apply_train):
        result = jax.eval_shape(functools.partial(function, config), variables, mixture, condition)
        estimate = result if function is separator.apply else result[0]
        assert (estimate.shape, estimate.dtype) == (mixture.shape, jnp.float32)


@pytest.mark.parametrize("samples", [1, 33, 777])
def test_any_length_gives_an_estimate_of_that_length(variables, samples):
    estimate = apply(variables, noise(2, samples), noise(2, 5))
    assert estimate.shape == (2, samples)
    assert np.isfinite(estimate).all()


def test_an_example_does_not_depend_on_its_batch(variables):
    mixture, condition = noise(5, 500), noise(5, 5, seed=1)
    whole = apply(variables, mixture, condition)
    part = apply(variables, mixture[[4, 2]], condition[[4, 2]])
    np.testing.assert_allclose(part, whole[[4, 2]], atol=1e-6)
    assert np.abs(apply(variables, mixture, condition[::-1]) - whole).max() > 1e-4


def test_evaluation_is_deterministic_and_leaves_the_variables_alone(variables):
    before = jax.tree.map(np.array, variables)
    mixture, condition = noise(2, 500), noise(2, 5, seed=1)
    np.testing.assert_array_equal(apply(variables, mixture, condition), apply(variables, mixture, condition))
    jax.tree.map(np.testing.assert_array_equal, before, jax.tree.map(np.array, variables))


def test_training_uses_the_batch_and_evaluation_the_running_statistics(variables):
    mixture, condition = noise(2, 500), noise(2, 5, seed=1)
    train = jax.jit(functools.partial(separator.apply_train, SMALL))
    estimate, stats = train(variables, mixture, condition)
    other = jax.tree.map(lambda x: x + 1, variables["batch_stats"])
    same, other_stats = train({**variables, "batch_stats": other}, mixture, condition)
    np.testing.assert_array_equal(same, estimate)
    assert np.abs(apply(variables, mixture, condition) - estimate).max() > 1e-3
    # All statistics moved by one hundredth of the way to the same batch, but for those that nothing uses.
    other_stats = flatten_dict(other_stats)
    for path, value in flatten_dict(stats).items():
        kept = 1 if "unused_norm" in path else 0.99
        np.testing.assert_allclose(other_stats[path] - value, kept, atol=1e-5, err_msg=str(path))


def test_silence_gives_silence_and_finite_gradients(variables):
    silence = np.zeros((1, 300), np.float32)
    assert np.abs(apply(variables, silence, noise(1, 5))).max() < 1e-4

    @jax.jit
    def energy(variables, mixture):
        return jnp.sum(separator.apply(SMALL, variables, mixture, jnp.asarray(noise(1, 5))) ** 2)

    gradients = jax.grad(energy, argnums=(0, 1))(variables, silence)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


def test_the_estimate_is_never_louder_than_the_mixture_in_any_bin(variables):
    mixture = noise(1, 500)
    estimate = apply(variables, mixture, noise(1, 5))
    assert np.abs(estimate).max() > 0.01
    assert np.sum(estimate**2) < np.sum(mixture**2)


@pytest.mark.parametrize(
    "change",
    [{"film": "scale_shift"}, {"bottleneck_blocks": 4}, {"magnitude_power": 0.3}, {"patch_bins": 4}],
    ids=str,
)
def test_every_field_changes_the_model(change):
    config = dataclasses.replace(SMALL, **change)
    before, after = separator.init(SMALL, jax.random.key(0)), separator.init(config, jax.random.key(0))
    names, more = flatten_dict(before), flatten_dict(after)
    if "film" in change:
        assert {path[-2:] for path in set(more) - set(names)} == {("scale", "kernel"), ("scale", "bias")}
    elif "patch_bins" in change:
        grown = {path[2:]: leaf.shape for path, leaf in more.items() if leaf.shape != names[path].shape}
        assert set(more) == set(names)
        assert grown == {
            ("pre_conv", "kernel"): (1, 1, 4, 3),
            ("after_conv", "kernel"): (1, 1, 3, 12),
            ("after_conv", "bias"): (12,),
        }
    elif "bottleneck_blocks" in change:
        assert {path[2] for path in set(more) - set(names)} == {f"bottleneck{n}" for n in (2, 3, 4)}
    else:
        assert set(more) == set(names)
        estimates = [apply(after, noise(1, 500), noise(1, 5), config=c) for c in (SMALL, config)]
        assert np.abs(estimates[0] - estimates[1]).max() > 1e-3


def test_without_the_unused_tensors_the_estimate_is_the_same(variables):
    config = dataclasses.replace(SMALL, unused_tensors=False)
    fewer = separator.flat_shapes(config)
    dropped = {path: leaf for path, leaf in flatten_dict(variables).items() if path not in fewer}
    # scale, bias, mean, var, and the projection's kernel and bias, for each decoder
    assert len(dropped) == 6 * len(SMALL.encoder_widths)
    kept = unflatten_dict({path: flatten_dict(variables)[path] for path in fewer})
    mixture, condition = noise(2, 500), noise(2, 5, seed=1)
    np.testing.assert_array_equal(
        apply(kept, mixture, condition, config=config), apply(variables, mixture, condition)
    )


def test_fresh_values_are_those_of_the_modules_own_initializers():
    config = dataclasses.replace(SMALL, encoder_widths=(16, 24), condition_size=40, film="scale_shift")
    ours = flatten_dict(separator.init(config, jax.random.key(3)))
    inputs = (jnp.zeros((1, 64)), jnp.zeros((1, 40)))
    module = jax.jit(functools.partial(separator.Separator(config).init, train=False))
    # Of this kind of key, because it compiles fastest.
    theirs = flatten_dict(module(jax.random.key(3, impl="unsafe_rbg"), *inputs))
    assert set(ours) == {path for path in theirs if path[0] in ("params", "batch_stats")}
    for path, values in ours.items():
        if path[-1] != "kernel":
            np.testing.assert_array_equal(values, theirs[path], err_msg=str(path))
            continue
        limit = math.sqrt(6 / (math.prod(values.shape[:-2]) * sum(values.shape[-2:])))
        for draw in (np.asarray(values), np.asarray(theirs[path])):
            assert np.abs(draw).max() <= limit
            if draw.size >= 256:
                # Uniform: the deviation is limit / √3 within a few standard errors.
                assert abs(draw.std() / (limit / math.sqrt(3)) - 1) < 3 / math.sqrt(draw.size), path
                assert abs(draw.mean()) < 4 * limit / math.sqrt(3 * draw.size), path


def test_fresh_values_depend_only_on_the_key_with_and_without_jit():
    once = separator.init(SMALL, jax.random.key(1))
    again = separator.init(SMALL, jax.random.key(1))
    jitted = jax.jit(functools.partial(separator.init, SMALL))(jax.random.key(1))
    jax.tree.map(np.testing.assert_array_equal, once, again)
    jax.tree.map(np.testing.assert_array_equal, once, jitted)
    kernel = flatten_dict(once)["params", "resunet", "encoder1", "conv1", "kernel"]
    other = flatten_dict(separator.init(SMALL, jax.random.key(2)))
    assert np.abs(kernel - other["params", "resunet", "encoder1", "conv1", "kernel"]).max() > 0.1
    shapes = jax.eval_shape(functools.partial(separator.init, SMALL), jax.random.key(1))
    assert shapes == separator.shapes(SMALL)


@pytest.mark.parametrize(
    "shape",
    [
        {"encoder_widths": (3, 4)},
        {"encoder_widths": (3, 3, 5), "bottleneck_blocks": 2, "film": "scale_shift", "unused_tensors": False},
    ],
    ids=["shift", "scale_shift"],
)
def test_the_written_shapes_are_those_of_the_model(shape):
    config = dataclasses.replace(SMALL, **shape)
    leaves, _ = jax.tree_util.tree_flatten_with_path(separator.shapes(config))
    traced = [(tuple(part.key for part in path), leaf.shape) for path, leaf in leaves]
    assert list(separator.flat_shapes(config).items()) == traced
