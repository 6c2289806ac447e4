"""Winograd's convolution against the plain one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiosep_jax.models import convolution, winograd


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("shape", [(4, 4, 3, 5), (8, 12, 5, 2)])
def test_a_strip_is_convolved_as_the_whole_is(shape):
    rows, freq, channels, features = shape
    whole, kernel = draw(rows + 2, freq, channels), draw(3, 3, channels, features, seed=1) / np.float32(8)
    expected = convolution.convolve(jnp.asarray(whole)[None], jnp.asarray(kernel))[0, 1:-1]
    result = winograd.convolve(jnp.asarray(whole), jnp.asarray(winograd.coefficients(kernel)))
    np.testing.assert_allclose(result, expected, atol=2e-5)


def test_rounding_stays_small_in_the_widest_layer():
    whole, kernel = draw(10, 16, 768), draw(3, 3, 768, 8, seed=1) / np.sqrt(9 * 768).astype(np.float32)
    with jax.enable_x64(True):
        exact = convolution.convolve(jnp.asarray(whole[None], jnp.float64), jnp.asarray(kernel, jnp.float64))
    result = winograd.convolve(jnp.asarray(whole), jnp.asarray(winograd.coefficients(kernel)))
    error = np.asarray(result) - np.asarray(exact)[0, 1:-1]
    assert np.sqrt((error**2).mean()) < 2e-5  # of outputs of unit deviation
    assert np.abs(error).max() < 2e-4


def test_strips_divide_the_sound_and_are_whole_tiles():
    assert [
        winograd.strip_rows(time, freq) for time, freq in ((1024, 1024), (64, 64), (20, 256), (4, 64))
    ] == [
        8,
        64,
        20,
        4,
    ]
    for time in range(4, 200, 4):
        rows = winograd.strip_rows(time, 128)
        assert rows % winograd.TILE == 0 == time % rows
