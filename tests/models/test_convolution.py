"""The convolution against its definition, and its two gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiosep_jax.models import convolution


def draw(*shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("size", [1, 3])
def test_convolution_equals_its_definition(size):
    inputs, kernel = draw(2, 5, 4, 3), draw(size, size, 3, 2, seed=1)
    margin = size // 2
    padded = np.pad(inputs, ((0, 0), (margin,) * 2, (margin,) * 2, (0, 0)))
    expected = sum(padded[:, i : i + 5, j : j + 4] @ kernel[i, j] for i in range(size) for j in range(size))
    np.testing.assert_allclose(
        convolution.convolve(jnp.asarray(inputs), jnp.asarray(kernel)), expected, atol=1e-5
    )


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize(
    "widths",
    [(3, 5), (convolution._WIDE, convolution._WIDE + 1), (convolution._WIDE + 1, convolution._WIDE)],
    ids=["narrow", "widening", "narrowing"],
)
def test_both_gradients_equal_those_of_the_native_convolution(widths, size):
    """In float64, so that rounding cannot hide a wrong tap."""
    with jax.enable_x64(True):
        inputs = draw(2, 6, 5, widths[0], dtype=np.float64)
        kernel = draw(size, size, *widths, seed=1, dtype=np.float64)
        cotangent = draw(2, 6, 5, widths[1], seed=2, dtype=np.float64)

        def native(inputs, kernel):
            dimensions = ("NHWC", "HWIO", "NHWC")
            return jax.lax.conv_general_dilated(inputs, kernel, (1, 1), "SAME", dimension_numbers=dimensions)

        @jax.jit
        def gradients(inputs, kernel, cotangent):
            products = convolution._kernel_gradient_as_products(inputs, cotangent, size, size)
            ours = jax.vjp(convolution.convolve, inputs, kernel)[1](cotangent)
            return ours, jax.vjp(native, inputs, kernel)[1](cotangent), products

        ours, theirs, products = gradients(inputs, kernel, cotangent)
        for one, two in zip(ours, theirs, strict=True):
            assert one.dtype == jnp.float64
            np.testing.assert_allclose(one, two, rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(products, theirs[1], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("widths", "products"),
    [
        ((convolution._WIDE, convolution._WIDE), True),
        ((convolution._WIDE - 1, convolution._WIDE), False),
        ((convolution._WIDE, convolution._WIDE - 1), False),
    ],
)
def test_the_cpu_uses_matrix_products_only_for_wide_layers(widths, products):
    shapes = [
        jax.ShapeDtypeStruct(shape, jnp.float32)
        for shape in ((1, 4, 4, widths[0]), (3, 3, *widths), (1, 4, 4, widths[1]))
    ]

    def kernel_gradient(inputs, kernel, cotangent):
        return jax.vjp(convolution.convolve, inputs, kernel)[1](cotangent)[1]

    text = jax.jit(kernel_gradient).lower(*shapes).as_text()
    assert text.count("stablehlo.dot_general") == (3 if products else 0)
    assert ("stablehlo.convolution" in text) == (not products)
