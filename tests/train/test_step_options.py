"""A train step in parts, with a moving average, that skips what is not finite: all three in one program."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sharded_step
import training_runs

from audiosep_jax.audio.mixing import mix
from audiosep_jax.config import ExecutionConfig
from audiosep_jax.models import separator
from audiosep_jax.train import mesh as meshes
from audiosep_jax.train import state as states
from audiosep_jax.train.checkpoint import RunCheckpoints
from audiosep_jax.train.loss import waveform_loss
from audiosep_jax.train.optimizer import make_optimizer
from audiosep_jax.train.step import make_train_step

# Two updates below the cap of the average's share: 1/10, then 2/11; then the cap.
DECAY = 0.2
PARTS = 2
CONFIG = dataclasses.replace(
    training_runs.experiment("none", ema_decay=DECAY, on_non_finite="skip"),
    execution=ExecutionConfig(microbatches=PARTS),
)
OPTIMIZER = make_optimizer(CONFIG.optimizer, 10)
COMPILED = "/jax/core/compile/backend_compile_duration"


@pytest.fixture(scope="module")
def mesh():
    return meshes.make_mesh(CONFIG.mesh)


@pytest.fixture(scope="module")
def step(mesh):
    return make_train_step(CONFIG, OPTIMIZER, mesh)


def fresh(mesh):
    state = states.create(CONFIG.model, OPTIMIZER, jax.random.key(0), average=True)
    return meshes.put_state(mesh, state)


def take(step, mesh, state, batch):
    with jax.set_mesh(mesh), jax.transfer_guard("disallow"):
        return step(state, meshes.put_batch(mesh, batch, microbatches=PARTS))


def batch():
    return sharded_step.batch(8)


def bad_batch():
    bad = batch()
    bad["segments"][0, 1, 17] = np.nan  # in the first part alone
    return bad


def host(tree):
    return jax.tree.map(np.array, tree)


def close(one, other, tolerance):
    def compare(a, b):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * max(np.abs(b).max(), 1e-3))

    jax.tree.map(compare, one, other)


@pytest.fixture
def compilations():
    """Names of the compiled programs."""
    names = []

    def note(event, _seconds, fun_name="", **_):
        if event == COMPILED:
            names.append(fun_name)

    jax.monitoring.register_event_duration_secs_listener(note)
    yield names
    jax.monitoring.unregister_event_duration_listener(note)


def test_the_step_is_compiled_once_also_after_a_checkpoint(mesh, step, compilations, tmp_path):
    state = fresh(mesh)
    for _ in range(2):
        state, _ = take(step, mesh, state, batch())
    checkpoints = RunCheckpoints(tmp_path, CONFIG)
    checkpoints.save(state, step=2)
    like = jax.tree.map(jnp.zeros_like, state)
    checkpoints.close()
    checkpoints = RunCheckpoints(tmp_path, CONFIG)
    restored, _ = checkpoints.restore(like)
    checkpoints.close()
    for _ in range(2):
        restored, _ = take(step, mesh, restored, batch())
    assert int(restored.step) == 4
    assert sum("train_step" in name for name in compilations) == 1


def test_parts_are_normalized_separately_and_their_gradients_are_averaged(mesh, step):
    """The documented meaning, written out: parts one after the other, each with its own statistics."""
    start = host(fresh(mesh))

    @jax.jit
    def of_part(params, batch_stats, part):
        def loss_of(params):
            mixture, target = mix(
                part["segments"], part["gains_db"], level_db=part["level_db"], absent=part["absent"]
            )
            variables = {"params": params, "batch_stats": batch_stats}
            estimate, new = separator.apply_train(CONFIG.model, variables, mixture, part["condition"])
            return waveform_loss("snr", estimate=estimate, target=target, mixture=mixture), new

        return jax.value_and_grad(loss_of, has_aux=True)(params)

    whole, batch_stats, losses, gradients = batch(), start.batch_stats, [], []
    for index in range(PARTS):
        part = {name: jnp.asarray(array[4 * index : 4 * (index + 1)]) for name, array in whole.items()}
        (loss, batch_stats), gradient = of_part(start.params, batch_stats, part)
        losses.append(float(loss))
        gradients.append(gradient)
    state, metrics = take(step, mesh, fresh(mesh), whole)
    assert abs(losses[0] - losses[1]) > 1e-2
    np.testing.assert_allclose(metrics.loss, np.mean(losses), rtol=1e-5)
    close(state.batch_stats, batch_stats, 1e-5)
    # The first moment after one step is a tenth of the gradient.
    close(state.opt_state[0].mu, jax.tree.map(lambda a, b: 0.1 * (a + b) / 2, *gradients), 1e-3)


def test_the_average_follows_the_parameters_with_its_warm_up(mesh, step):
    state = fresh(mesh)
    average = host(state.params)
    for share in (1 / 10, 2 / 11, DECAY, DECAY):
        state, _ = take(step, mesh, state, batch())
        new = host(state.params)
        average = jax.tree.map(lambda old, new, share=share: share * old + (1 - share) * new, average, new)
        close(state.ema, average, 1e-6)
    assert state.delivered["params"] is state.ema
    assert state.delivered["batch_stats"] is state.batch_stats
    assert state.variables["params"] is state.params
    moved = [
        bool((a != b).any())
        for a, b in zip(jax.tree.leaves(host(state.ema)), jax.tree.leaves(new), strict=True)
    ]
    assert np.mean(moved) > 0.9


def test_a_bad_part_makes_a_skipped_step_and_nothing_else(mesh, step):
    state, _ = take(step, mesh, fresh(mesh), batch())
    before = host(state)
    state, metrics = take(step, mesh, state, bad_batch())
    assert not np.isfinite(metrics.loss)
    assert (int(metrics.skipped), int(metrics.failed_step)) == (1, states.NEVER)
    expected = dataclasses.replace(before, step=np.int32(2), skipped=np.int32(1))
    jax.tree.map(np.testing.assert_array_equal, state, expected)


def test_skipped_steps_do_not_change_later_ones(mesh, step):
    skipping = fresh(mesh)
    for made in (batch, bad_batch, bad_batch, batch):
        skipping, metrics = take(step, mesh, skipping, made())
    assert np.isfinite(metrics.loss)
    straight = fresh(mesh)
    for _ in range(2):
        straight, _ = take(step, mesh, straight, batch())
    straight = dataclasses.replace(straight, step=skipping.step, skipped=skipping.skipped)
    assert (int(skipping.step), int(skipping.skipped)) == (4, 2)
    jax.tree.map(np.testing.assert_array_equal, skipping, straight)


def test_a_state_without_average_delivers_its_parameters():
    state = states.create(CONFIG.model, OPTIMIZER, jax.random.key(0))
    assert state.ema is None
    assert state.delivered["params"] is state.params
