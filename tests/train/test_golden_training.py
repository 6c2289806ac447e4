"""Three steps of the real train step at base width against the records of the PyTorch reference."""

import golden
import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from golden_inputs import SEED, unit_condition, waveform

from audiosep_jax.checkpoints.pytorch_names import tensor_names
from audiosep_jax.config import ExperimentConfig, OptimizerConfig
from audiosep_jax.train import mesh as meshes
from audiosep_jax.train import state as states
from audiosep_jax.train import step as steps
from audiosep_jax.train.optimizer import make_optimizer

STEPS = 3
OPTIMIZER = OptimizerConfig(kind="adamw_amsgrad", learning_rate=1e-3, warmup_steps=0)


@pytest.fixture(scope="module")
def run():
    """Losses of three steps; gradients and running statistics of the first, by the reference's names."""
    config = ExperimentConfig(optimizer=OPTIMIZER)
    optimizer, mesh = make_optimizer(OPTIMIZER, STEPS), meshes.make_mesh()
    state = states.create(config.model, optimizer, jax.random.key(0), variables=golden.variables("base"))
    state = jax.device_put(state, meshes.replicated(mesh))
    batch = {
        "segments": np.stack(
            [
                [waveform(32_000, SEED + 5 + example), waveform(32_000, SEED + 7 + example) / 2]
                for example in range(2)
            ]
        ),
        "gains_db": np.zeros((2, 2), np.int32),
        "level_db": np.zeros(2, np.float32),
        "absent": np.zeros(2, bool),
        "condition": unit_condition(2, SEED + 9),
    }
    losses, first = [], None
    with pytest.MonkeyPatch.context() as patch, jax.set_mesh(mesh):
        # The records give mixture and target themselves.
        given = lambda segments, gains, **_: (segments[:, 0], segments[:, 1])  # noqa: E731
        patch.setattr(steps, "mix", given)
        step = steps.make_train_step(config, optimizer, mesh)
        for _ in range(STEPS):
            state, metrics = step(state, jax.device_put(batch, meshes.batch_sharding(mesh)))
            losses.append(float(metrics.loss))
            if first is None:
                moments = flatten_dict(jax.device_get(state.opt_state[0].mu))
                statistics = flatten_dict(jax.device_get(state.batch_stats))
                first = float(metrics.gradient_norm), moments, statistics
    norm, moments, statistics = first
    names = {name.path: name.pytorch for name in tensor_names(config.model)}
    # After one step the first moment is (1 - beta1) times the gradient.
    gradients = {
        names["params", *path]: value.astype(np.float64) / (1 - OPTIMIZER.beta1)
        for path, value in moments.items()
    }
    statistics = {names["batch_stats", *path]: value for path, value in statistics.items()}
    return losses, norm, gradients, statistics


def test_losses(run):
    np.testing.assert_allclose(run[0], golden.record()["train/losses"], rtol=1e-4)


def test_gradient_norms(run):
    _, norm, gradients, _ = run
    record = golden.record()
    expected = dict(zip(record["train/grad_norm_names"].tolist(), record["train/grad_norms"], strict=True))
    unused = set(record["train/unused"].tolist())
    assert set(expected) | unused == set(gradients)
    assert not set(expected) & unused
    norms = {name: np.linalg.norm(gradient) for name, gradient in gradients.items()}
    for name, value in expected.items():
        if value > 1e-8:
            np.testing.assert_allclose(norms[name], value, rtol=1e-3, err_msg=name)
        else:
            assert norms[name] < 1e-7, name
    np.testing.assert_allclose(norm, np.linalg.norm(list(norms.values())), rtol=1e-5)


def test_only_the_tensors_that_the_reference_never_uses_have_no_gradient(run):
    gradients = run[2]
    still = {name for name, gradient in gradients.items() if not gradient.any()}
    assert still == set(golden.record()["train/unused"].tolist())
    assert len(still) == 24
    assert sum(gradients[name].size for name in still) == 824_000
    assert sum(gradient.size for gradient in gradients.values()) == 26_447_941


def test_running_statistics_after_the_first_step(run):
    statistics, record = run[3], golden.record()
    for leaf in ("running_mean", "running_var"):
        expected = record[f"train/bn0_{leaf}"]
        np.testing.assert_allclose(statistics[f"base.bn0.{leaf}"], expected, rtol=1e-4, atol=1e-4)
    names, sums = record["train/running_names"].tolist(), record["train/running_sums"]
    for name, expected in zip(names, sums, strict=True):
        values = statistics[name].astype(np.float64)
        # A sum of n values may be off by n times what each of them may be.
        assert abs(values.sum() - expected) < 1e-4 * len(values), name
