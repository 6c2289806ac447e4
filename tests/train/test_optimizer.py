"""Optimizers against PyTorch's own steps, and the learning rate by step."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from audiosep_jax.config import OptimizerConfig
from audiosep_jax.errors import AudioSepError
from audiosep_jax.train.optimizer import make_optimizer, make_schedule

RECORDS = np.load(Path(__file__).parents[1] / "data" / "torch_records.npz")


def steps_of(optimizer):
    """The parameters after each of the recorded gradients; optax itself relies on silent promotion."""

    @jax.jit
    def step(carry, gradient):
        parameters, state = carry
        updates, state = optimizer.update(gradient, state, parameters)
        parameters = optax.apply_updates(parameters, updates)
        return (parameters, state), parameters

    start = jnp.asarray(RECORDS["optimizer/start"])
    gradients = jnp.asarray(RECORDS["optimizer/gradients"])
    with jax.numpy_dtype_promotion("standard"):
        return np.asarray(jax.lax.scan(step, (start, optimizer.init(start)), gradients)[1])


def ours(kind, **options):
    config = OptimizerConfig(kind=kind, learning_rate=1e-2, warmup_steps=0, **options)
    return steps_of(make_optimizer(config, 12))


@pytest.mark.parametrize(
    ("record", "kind", "decay"),
    [
        ("adam", "adam", 0.0),
        ("adamw", "adamw", 0.1),
        ("adamw_amsgrad", "adamw_amsgrad", 0.0),
        ("adamw_amsgrad_decay", "adamw_amsgrad", 0.1),
    ],
)
def test_every_step_equals_pytorch(record, kind, decay):
    steps = ours(kind, weight_decay=decay)
    np.testing.assert_allclose(steps, RECORDS[f"optimizer/{record}"], rtol=1e-5, atol=1e-6)


def test_optax_means_another_amsgrad():
    theirs = RECORDS["optimizer/adamw_amsgrad"]
    error = np.abs(steps_of(optax.amsgrad(1e-2)) - theirs).max()
    assert error > 100 * np.abs(ours("adamw_amsgrad") - theirs).max()
    assert error > 1e-3


def test_adam_takes_no_decay():
    with pytest.raises(AudioSepError, match=r"optimizer\.weight_decay has no meaning"):
        ours("adam", weight_decay=0.5)


def test_the_warmup_is_constant_in_pieces_and_changes_at_the_exact_steps():
    schedule = make_schedule(OptimizerConfig(), 1_000_000)
    expected = {
        0: 1e-6,
        9_999: 1e-6,
        10_000: 1e-5,
        19_999: 1e-5,
        20_000: 1e-4,
        29_999: 1e-4,
        30_000: 1e-3,
        999_999: 1e-3,
    }
    for step, rate in expected.items():
        np.testing.assert_allclose(schedule(step), rate, rtol=1e-6, err_msg=str(step))


def test_without_warmup_steps_the_rate_is_whole_from_the_start():
    schedule = make_schedule(OptimizerConfig(warmup_steps=0, learning_rate=0.5), 10)
    np.testing.assert_allclose([schedule(0), schedule(9)], 0.5)


def test_the_decay_is_a_cosine_that_ends_at_the_last_step():
    config = OptimizerConfig(warmup_steps=10, warmup_factors=(0.1,), learning_rate=2.0, decay_steps=40)
    rates = np.array(jax.vmap(make_schedule(config, 100))(jnp.arange(101)))
    np.testing.assert_allclose(rates[:10], 0.2)
    np.testing.assert_allclose(rates[10:61], 2)
    np.testing.assert_allclose(rates[60:], 1 + np.cos(np.pi * np.arange(41) / 40), atol=1e-6)
    assert rates[99] > 0
    assert rates[100] == 0


def test_moments_do_not_share_buffers():
    """A state is donated to the step, and the same buffer cannot be donated twice."""
    state = make_optimizer(OptimizerConfig(), 10).init({"kernel": jnp.ones((3, 2))})
    buffers = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(state)]
    assert len(set(buffers)) == len(buffers)


def test_muon_makes_the_updates_of_matrices_orthogonal_and_leaves_the_rest_to_adam():
    config = OptimizerConfig(kind="muon", learning_rate=1e-2, warmup_steps=0)
    draw = np.random.default_rng(0)
    shapes = {
        "pre_conv": {"kernel": (1, 1, 2, 4), "bias": (4,)},
        "conv1": {"kernel": (3, 3, 4, 6)},
        "film": {"shift": {"kernel": (5, 6), "bias": (6,)}},
    }
    gradients, params = (
        jax.tree.map(
            lambda shape: jnp.asarray(draw.normal(size=shape), jnp.float32),
            shapes,
            is_leaf=lambda value: isinstance(value, tuple),
        )
        for _ in range(2)
    )

    def first_update(optimizer):
        with jax.numpy_dtype_promotion("standard"):  # optax needs it
            return jax.jit(optimizer.update)(gradients, optimizer.init(params), params)[0]

    muon = first_update(make_optimizer(config, 12))
    adam = first_update(optax.adamw(1e-2, weight_decay=0.0, nesterov=True))
    for kernel in (muon["conv1"]["kernel"], muon["film"]["shift"]["kernel"]):
        matrix = np.asarray(kernel).reshape(-1, kernel.shape[-1])
        strengths = np.linalg.svd(matrix, compute_uv=False)
        assert strengths.max() < 2 * strengths.min()
        # An update of Adam is about as large as the rate, one of Muon a fifth of it.
        assert 1e-3 < np.sqrt(np.mean(matrix**2)) < 3e-3
    np.testing.assert_allclose(muon["film"]["shift"]["bias"], adam["film"]["shift"]["bias"], rtol=1e-5)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5), muon["pre_conv"], adam["pre_conv"])
