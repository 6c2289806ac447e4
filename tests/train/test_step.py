"""One train step: what it changes, and that a bad batch changes nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sharded_step
import training_runs

from audiosep_jax.audio.mixing import mix
from audiosep_jax.models import separator
from audiosep_jax.train import mesh as meshes
from audiosep_jax.train import state as states
from audiosep_jax.train.loss import waveform_loss
from audiosep_jax.train.optimizer import make_optimizer
from audiosep_jax.train.step import make_train_step

CONFIG = training_runs.experiment("none")


@pytest.fixture(scope="module")
def setup():
    mesh, optimizer = meshes.make_mesh(), make_optimizer(CONFIG.optimizer, 10)
    return make_train_step(CONFIG, optimizer, mesh), optimizer, mesh


def fresh(setup):
    state = states.create(CONFIG.model, setup[1], jax.random.key(0))
    return jax.device_put(state, meshes.replicated(setup[2]))


def take(setup, state, batch):
    with jax.set_mesh(setup[2]):
        return setup[0](state, jax.device_put(batch, meshes.batch_sharding(setup[2])))


def same(one, two):
    return all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True))


def test_the_loss_is_that_of_the_mixed_batch_before_the_update(setup):
    batch = sharded_step.batch()
    mixture, target = mix(
        *(jnp.asarray(batch[name]) for name in ("segments", "gains_db")),
        level_db=jnp.asarray(batch["level_db"]),
        absent=jnp.asarray(batch["absent"]),
    )
    variables = fresh(setup).variables
    train = jax.jit(lambda *arrays: separator.apply_train(CONFIG.model, *arrays))
    estimate, statistics = train(variables, mixture, batch["condition"])
    expected = waveform_loss("snr", estimate=estimate, target=target, mixture=mixture)
    state, metrics = take(setup, fresh(setup), batch)
    np.testing.assert_allclose(metrics.loss, expected, rtol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), state.batch_stats, statistics
    )
    assert (int(state.step), int(state.failed_step)) == (1, states.NEVER)
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), state.params, variables["params"])
    assert np.mean(jax.tree.leaves(moved)) > 0.9


def test_the_same_state_and_batch_give_the_same_bits(setup):
    results = [take(setup, fresh(setup), sharded_step.batch())[0] for _ in range(2)]
    assert same(*results)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_bad_batch_changes_nothing_and_stops_all_later_steps(setup, value):
    good, bad = sharded_step.batch(), sharded_step.batch()
    bad["segments"][3, 1, 17] = value
    state, _ = take(setup, fresh(setup), good)
    before = jax.tree.map(np.array, state)
    state, metrics = take(setup, state, bad)
    assert not np.isfinite(metrics.loss)
    assert int(metrics.failed_step) == 1
    state, metrics = take(setup, state, good)
    assert np.isfinite(metrics.loss)
    assert int(metrics.failed_step) == 1
    assert int(state.step) == 1
    for part in ("params", "batch_stats", "opt_state"):
        assert same(getattr(state, part), getattr(before, part)), part


def test_a_state_starts_from_given_variables(setup):
    variables = jax.device_get(separator.init(CONFIG.model, jax.random.key(5)))
    state = states.create(CONFIG.model, setup[1], jax.random.key(0), variables=variables)
    assert same(state.variables, {name: variables[name] for name in ("params", "batch_stats")})
    assert not same(state.params, fresh(setup).params)
