"""Mixtures of different lengths in one batch: each as if it were alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiosep_jax.config import ModelConfig
from audiosep_jax.models import separator
from audiosep_jax.models.inference import ragged

SMALL = ModelConfig(
    sample_rate_hz=8000, window_length=64, hop_length=20, encoder_widths=(3, 4), condition_size=5
)
STEP = SMALL.hop_length * SMALL.time_multiple


@pytest.fixture(scope="module")
def variables():
    fresh = separator.init(SMALL, jax.random.key(0))
    draw = np.random.default_rng(0)
    stats = jax.tree.map(lambda x: jnp.float32(draw.uniform(0.5, 1.5, x.shape)), fresh["batch_stats"])
    # Biases that are not zero, so that padding which is not masked is heard.
    params = jax.tree.map(lambda x: x + jnp.float32(0.1), fresh["params"])
    return {"params": params, "batch_stats": stats}


@functools.cache
def compiled(function):
    return jax.jit(functools.partial(function, SMALL), compiler_options={"xla_backend_optimization_level": 0})


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32) / 4


@pytest.mark.parametrize("group", [(481, 500, 519), (1, 33, 39)])
def test_each_row_equals_its_separation_alone(variables, group):
    length = ragged.batch_samples(SMALL, max(group))
    assert {ragged.batch_samples(SMALL, samples) for samples in group} == {length}
    condition = noise(len(group), 5, seed=1)
    mixture = np.full((len(group), length), np.nan, np.float32)
    sounds = [noise(samples, seed=samples) for samples in group]
    for row, sound in enumerate(sounds):
        mixture[row, : len(sound)] = sound
    counts = np.array(group, np.int32)
    together = np.asarray(compiled(ragged.apply)(variables, mixture, condition, counts))
    for row, sound in enumerate(sounds):
        alone = np.asarray(compiled(separator.apply)(variables, sound[None], condition[row : row + 1]))[0]
        assert np.abs(alone).max() > 1e-3
        np.testing.assert_allclose(together[row, : len(sound)], alone, rtol=0, atol=1e-6)
        assert not together[row, len(sound) :].any()


def test_an_unmasked_batch_would_differ(variables):
    """The test above can fail: silence after the end changes the end."""
    sound, condition = noise(500), noise(1, 5, seed=1)
    alone = np.asarray(compiled(separator.apply)(variables, sound[None], condition))[0]
    padded = np.pad(sound, (0, ragged.batch_samples(SMALL, 500) - 500))[None]
    unmasked = np.asarray(compiled(separator.apply)(variables, padded, condition))[0]
    assert np.abs(unmasked[:500] - alone).max() > 1e-3


def test_lengths_within_one_step_of_pooling_share_a_program():
    shared = {ragged.batch_samples(SMALL, samples) for samples in range(3 * STEP, 4 * STEP)}
    assert shared == {4 * STEP - 1}
    # The network pads these frames in any case: what is shared costs nothing.
    frames = (4 * STEP - 1) // SMALL.hop_length + 1
    assert frames % SMALL.time_multiple == 0
    assert ragged.batch_samples(SMALL, 4 * STEP) == 5 * STEP - 1


def test_rows_of_another_length_are_refused(variables):
    with pytest.raises(ValueError, match="rows have 500 samples: pad them to 519"):
        ragged.apply(SMALL, variables, jnp.ones((1, 500)), jnp.ones((1, 5)), jnp.array([500]))
