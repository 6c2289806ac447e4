"""The layers one by one: BatchNorm against PyTorch, FiLM, upsampling."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiosep_jax.models import film, layers
from audiosep_jax.models.normalization import Normalized, activate_through
from audiosep_jax.models.packing import PLAIN, packed_upsample

HIGH = 8.0

RECORDS = np.load(Path(__file__).parents[1] / "data" / "torch_records.npz")


def draw(*shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@pytest.fixture(scope="module")
def batch_norm():
    """Two training steps: outputs, gradients and statistics of each, and the variables after them."""

    @jax.jit
    def step(variables, inputs, cotangent):
        def forward(params, inputs):
            state = {"params": params, "batch_stats": variables["batch_stats"]}
            parts, updates = layers.BatchNorm().apply(state, (inputs,), True, mutable=["batch_stats"])
            mean, rstd, scale, bias = parts
            # So far above zero that the leaky ReLU does nothing.
            shift = jnp.tile(bias[None] + HIGH, (inputs.shape[0], 1))
            normalized = Normalized(
                parts=(inputs,),
                mean=jax.lax.stop_gradient(mean),
                rstd=jax.lax.stop_gradient(rstd),
                gain=scale[None],
                shift=shift,
                bins=1,
                of_batch=True,
            )
            outputs = activate_through(jnp.multiply, normalized, jnp.ones([1, 1, 1, 3]), keep_activation=True)
            return outputs - HIGH, updates

        outputs, pullback, updates = jax.vjp(forward, variables["params"], inputs, has_aux=True)
        return outputs, pullback(cotangent), updates["batch_stats"]

    params = {name: jnp.asarray(RECORDS[f"batch_norm/{name}"]) for name in ("scale", "bias")}
    variables = {"params": params, "batch_stats": {"mean": jnp.zeros(3), "var": jnp.ones(3)}}
    steps = []
    for index in range(2):
        place = f"batch_norm/step{index}"
        result = step(variables, RECORDS[f"{place}/inputs"], RECORDS[f"{place}/cotangent"])
        steps.append(result)
        variables = {**variables, "batch_stats": result[2]}
    return steps, variables


@pytest.mark.parametrize("index", [0, 1])
def test_batch_norm_equals_pytorch_in_training(batch_norm, index):
    outputs, (params, inputs), stats = batch_norm[0][index]
    record = {name: RECORDS[f"batch_norm/step{index}/{name}"] for name in ("outputs", "mean", "var")}
    np.testing.assert_allclose(outputs, record["outputs"], atol=1e-5)
    np.testing.assert_allclose(stats["mean"], record["mean"], rtol=1e-6)
    np.testing.assert_allclose(stats["var"], record["var"], rtol=1e-6)
    place = f"batch_norm/step{index}"
    np.testing.assert_allclose(inputs, RECORDS[f"{place}/inputs_gradient"], atol=1e-5)
    np.testing.assert_allclose(params["scale"], RECORDS[f"{place}/scale_gradient"], rtol=1e-4, atol=1e-5)


def test_the_running_variance_takes_the_unbiased_variance(batch_norm):
    inputs = RECORDS["batch_norm/step0/inputs"].reshape(-1, 3)
    var = batch_norm[0][0][2]["var"]
    np.testing.assert_allclose(var, 0.99 + 0.01 * inputs.var(0, ddof=1), rtol=1e-6)
    # The biased variance would be told from it.
    assert np.abs(var - (0.99 + 0.01 * inputs.var(0, ddof=0))).min() > 1e-4


def test_batch_norm_equals_pytorch_in_evaluation(batch_norm):
    inputs = RECORDS["batch_norm/step1/inputs"]
    mean, rstd, scale, bias = layers.BatchNorm().apply(batch_norm[1], (jnp.asarray(inputs),), False)
    outputs = (inputs - np.asarray(mean)) * np.asarray(rstd * scale) + np.asarray(bias)
    np.testing.assert_allclose(outputs, RECORDS["batch_norm/evaluated"], atol=1e-5)


@pytest.mark.parametrize("pack", [PLAIN, 1])
@pytest.mark.parametrize("stride", [(2, 2), (1, 2)])
def test_upsampling_writes_every_kernel_tap_to_its_own_place(stride, pack):
    inputs, kernel = draw(2, 3, 4, 5), draw(*stride, 5, 6, seed=1)
    outputs = np.asarray(packed_upsample(jnp.asarray(inputs), jnp.asarray(kernel), pack=pack))
    assert outputs.shape == (2, 3 * stride[0], 4 * stride[1], 6)
    for i in range(stride[0]):
        for j in range(stride[1]):
            expected = inputs @ kernel[i, j]
            np.testing.assert_allclose(outputs[:, i :: stride[0], j :: stride[1]], expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["shift", "scale_shift"])
def test_film_projects_the_condition_of_each_example(kind):
    condition = jnp.asarray(draw(2, 7))
    module = film.FiLM(kind, 5)
    variables = module.init(jax.random.key(0), condition)
    variables = jax.tree.map(lambda x: x + 0.1, variables)
    params = jax.tree.map(np.asarray, variables["params"])
    projected = {name: np.asarray(condition) @ part["kernel"] + part["bias"] for name, part in params.items()}
    gain, shift = module.apply(variables, condition)
    np.testing.assert_allclose(shift, projected["shift"], atol=1e-5)
    if kind == "shift":
        assert gain is None
        assert set(projected) == {"shift"}
    else:
        np.testing.assert_allclose(gain, 1 + projected["scale"], atol=1e-5)
