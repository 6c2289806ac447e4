"""Bins packed into channels: the layers are the plain ones, and so is the whole model, its gradients too."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiosep_jax.config import ExecutionConfig, ModelConfig
from audiosep_jax.models import accelerator_convolution, convolution, packing, separator

CONFIG = ModelConfig(encoder_widths=(8, 16), window_length=256, hop_length=80, condition_size=6)


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def packed(plain, pack):
    """`[batch, time, freq, channels]` with `pack` bins in the channels."""
    batch, time, freq, channels = plain.shape
    return plain.reshape(batch, time, freq // pack, pack * channels)


def test_packs_halve_from_level_to_level():
    assert packing.packs(ModelConfig(), 128) == (4, 2, 1, 1, 1, 1, 1)
    assert packing.packs(ModelConfig(), 256) == (8, 4, 2, 1, 1, 1, 1)
    assert packing.packs(CONFIG, 128) == (16, 8, 4)
    assert packing.packs(ModelConfig(encoder_widths=(200, 200)), 128) == (1, 1, 1)
    assert packing.packs(ModelConfig(), 0) == (packing.PLAIN,) * 7
    # A patch of 16 bins is one position, whose channels are the bins.
    assert packing.packs(ModelConfig(patch_bins=16), 128) == (4, 2, 1, 1, 1, 1, 1)
    # Never more bins than there are: 64 bins of one channel, though 128 would fit.
    assert packing.packs(ModelConfig(encoder_widths=(1, 1), window_length=128, hop_length=40), 128)[0] == 64


@pytest.mark.parametrize(
    ("size", "pack", "widths"),
    [(3, 1, (5,)), (3, 2, (5,)), (3, 4, (3, 2)), (1, 4, (3, 2)), (5, 2, (4,)), (7, 2, (1, 2, 1))],
)
def test_a_packed_convolution_equals_the_plain_one(size, pack, widths):
    parts = [draw(2, 6, 16, width, seed=i) for i, width in enumerate(widths)]
    kernel = draw(size, size, sum(widths), 7, seed=9)
    weights = draw(2, 6, 16, 7, seed=10)

    def plain(parts, kernel):
        outputs = jax.lax.conv_general_dilated(
            jnp.concatenate(parts, -1), kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return jnp.sum(outputs * weights), outputs

    def by_packs(parts, kernel):
        inputs = jnp.concatenate([packed(part, pack) for part in parts], -1)
        outputs = packing.packed_convolve(inputs, kernel, pack=pack, widths=widths)
        outputs = outputs.reshape(2, 6, 16, 7)
        return jnp.sum(outputs * weights), outputs

    (_, expected), wanted = jax.jit(jax.value_and_grad(plain, (0, 1), has_aux=True))(parts, kernel)
    (_, outputs), gradients = jax.jit(jax.value_and_grad(by_packs, (0, 1), has_aux=True))(parts, kernel)
    np.testing.assert_allclose(outputs, expected, atol=3e-5)
    for gradient, want in zip(jax.tree.leaves(gradients), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(gradient, want, atol=1e-4)


@pytest.mark.parametrize("pack", [1, 2, 4])
@pytest.mark.parametrize("stride", [(2, 2), (1, 2)])
def test_packed_pooling_and_upsampling_equal_the_plain_ones(stride, pack):
    inputs, kernel = draw(2, 6, 16, 5), draw(*stride, 5, 3, seed=1)
    pooled = packing.pool(jnp.asarray(packed(inputs, pack)), stride, pack)
    expected = convolution.average_pool(jnp.asarray(inputs), stride)
    np.testing.assert_allclose(pooled.reshape(expected.shape), expected, atol=1e-6)

    before = max(1, pack // 2)

    def up(inputs, kernel):
        return packing.packed_upsample(inputs, kernel, pack=pack).reshape(2, 6 * stride[0], 32, 3)

    grown, pullback = jax.vjp(up, jnp.asarray(packed(inputs, before)), jnp.asarray(kernel))
    expected, plain_pullback = jax.vjp(convolution.upsample, jnp.asarray(inputs), jnp.asarray(kernel))
    np.testing.assert_allclose(grown, expected, atol=1e-5)
    weights = jnp.asarray(draw(*expected.shape, seed=2))
    for one, other in zip(pullback(weights), plain_pullback(weights), strict=True):
        np.testing.assert_allclose(one.reshape(other.shape), other, atol=1e-4)


def test_narrow_inputs_have_a_float32_kernel_gradient():
    inputs, kernel = jnp.asarray(draw(2, 8, 8, 4), jnp.bfloat16), jnp.asarray(draw(3, 3, 4, 4))
    outputs, pullback = jax.vjp(accelerator_convolution.convolve, inputs, kernel)
    assert outputs.dtype == jnp.bfloat16
    inputs_gradient, kernel_gradient = pullback(jnp.ones_like(outputs))
    assert inputs_gradient.dtype == jnp.bfloat16
    assert kernel_gradient.dtype == jnp.float32
    # Not a rounded one: float32 sums of bfloat16 products are exact here, and need more than 8 bits.
    rounded = kernel_gradient.astype(jnp.bfloat16).astype(jnp.float32)
    assert np.mean(np.asarray(kernel_gradient != rounded)) > 0.5


@pytest.fixture(scope="module")
def measured():
    """Estimate, statistics and gradients by execution and FiLM, computed once each."""
    mixture, condition = jnp.asarray(0.1 * draw(3, 4_000)), jnp.asarray(draw(3, 6, seed=1))
    results = {}

    def measure(film, execution):
        if (film, execution) not in results:
            config = ModelConfig(**{**vars(CONFIG), "film": film, "patch_bins": 1 + (film == "shift")})
            variables = separator.init(config, jax.random.key(0))
            offset = jax.tree.map(lambda leaf: leaf + 0.1 * draw(*leaf.shape) * (leaf.ndim == 1), variables)

            def loss(params):
                variables = {"params": params, "batch_stats": offset["batch_stats"]}
                estimate, stats = separator.apply_train(
                    config, variables, mixture, condition, execution=execution
                )
                return jnp.mean(jnp.square(estimate - 0.3 * mixture)), (estimate, stats)

            (value, aux), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(offset["params"])
            results[film, execution] = jax.device_get((value, *aux, gradients))
        return results[film, execution]

    return measure


@pytest.mark.parametrize(
    ("film", "execution"),
    [
        pytest.param(
            "shift",
            ExecutionConfig(lanes=0, remat="activations"),
            id="shift-activations",
            marks=pytest.mark.slow,
        ),
        pytest.param("shift", ExecutionConfig(lanes=32, remat="none"), id="shift-packed"),
        pytest.param(
            "scale_shift",
            ExecutionConfig(lanes=128, remat="blocks"),
            id="scale_shift-packed-blocks",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_execution_changes_neither_results_nor_gradients(measured, film, execution):
    plain = measured(film, ExecutionConfig(lanes=0))
    other = measured(film, execution)
    np.testing.assert_allclose(other[0], plain[0], rtol=1e-5)
    np.testing.assert_allclose(other[1], plain[1], atol=5e-6)
    (leaves, tree), (wanted, plain_tree) = (
        jax.tree_util.tree_flatten_with_path(result[2:]) for result in (other, plain)
    )
    assert tree == plain_tree
    whole = np.sqrt(sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(plain[3])))
    assert len(leaves) > 70
    for (path, value), (_, want) in zip(leaves, wanted, strict=True):
        assert value.dtype == want.dtype == np.float32
        # A gradient that cancels out, as that of a bias in front of a BatchNorm, is the rounding of the rest.
        floor = 2e-4 * whole if path[0].idx == 1 else 1e-7
        bound = 1e-3 * np.linalg.norm(want) + floor
        assert np.linalg.norm(value - want) < bound, jax.tree_util.keystr(path)


def test_bfloat16_stays_near_float32(measured):
    plain = measured("shift", ExecutionConfig(lanes=0))
    narrow = measured("shift", ExecutionConfig(compute="bfloat16", lanes=32))
    assert narrow[1].dtype == np.float32
    assert 0 < abs(narrow[0] / plain[0] - 1) < 0.02
    error = np.linalg.norm(narrow[1] - plain[1]) / np.linalg.norm(plain[1])
    assert error < 0.03
    kernel = ("resunet", "after_conv", "kernel")
    one, other = (result[3][kernel[0]][kernel[1]][kernel[2]] for result in (narrow, plain))
    assert np.vdot(one, other) > 0.98 * np.linalg.norm(one) * np.linalg.norm(other)


def test_every_policy_keeps_less_than_the_one_before():
    """Bytes that the backward pass gets from the forward pass, without parameters."""
    variables = separator.shapes(CONFIG)
    mixture = jax.ShapeDtypeStruct((2, 16_000), jnp.float32)
    condition = jax.ShapeDtypeStruct((2, 6), jnp.float32)

    def kept(**execution):
        def forward(params, batch_stats, mixture, condition):
            def loss(params):
                estimate, _ = separator.apply_train(
                    CONFIG,
                    {"params": params, "batch_stats": batch_stats},
                    mixture,
                    condition,
                    execution=ExecutionConfig(lanes=32, **execution),
                )
                return jnp.mean(estimate)

            return jax.vjp(loss, params)[1]

        pullback = jax.eval_shape(forward, variables["params"], variables["batch_stats"], mixture, condition)
        return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(pullback))

    none, activations, blocks = (kept(remat=policy) for policy in ("none", "activations", "blocks"))
    assert activations < 0.75 * none
    assert blocks < 0.75 * activations
    assert kept(remat="none", compute="bfloat16") < 0.65 * none
