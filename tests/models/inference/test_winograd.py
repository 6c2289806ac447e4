"""Winograd's convolution against the plain one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiosep_jax.models import convolution
from audiosep_jax.models.inference import winograd


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def filled(rows):
    """A strip between two rows, with zeros around its bins; ignored positions are NaN."""
    rows = np.pad(rows, ((0, 0), (1, 1), (0, 0)))
    return jnp.asarray(np.pad(rows, ((0, 2), (0, 2), (0, 0)), constant_values=np.nan))


@pytest.mark.parametrize("shape", [(4, 4, 3, 5), (8, 12, 5, 2)])
def test_a_strip_equals_the_convolution_of_the_whole(shape):
    rows, freq, channels, features = shape
    whole, kernel = draw(rows + 2, freq, channels), draw(3, 3, channels, features, seed=1) / np.float32(8)
    expected = convolution.convolve(jnp.asarray(whole)[None], jnp.asarray(kernel))[0, 1:-1]
    result = winograd.convolve(filled(whole), winograd.coefficients(jnp.asarray(kernel)))
    np.testing.assert_allclose(result, expected, atol=2e-5)


def test_rounding_stays_small_in_the_widest_layer():
    whole, kernel = draw(10, 16, 768), draw(3, 3, 768, 8, seed=1) / np.sqrt(9 * 768).astype(np.float32)
    with jax.enable_x64(True):
        exact = convolution.convolve(jnp.asarray(whole[None], jnp.float64), jnp.asarray(kernel, jnp.float64))
    result = winograd.convolve(filled(whole), winograd.coefficients(jnp.asarray(kernel)))
    error = np.asarray(result) - np.asarray(exact)[0, 1:-1]
    assert np.sqrt((error**2).mean()) < 2e-5  # of outputs of unit deviation
    assert np.abs(error).max() < 2e-4
