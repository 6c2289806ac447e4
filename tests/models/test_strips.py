"""The network in strips equals the network in one piece, for both kinds of FiLM and lengths off the tiles."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_inference import drawn, noise

from audiosep_jax.config import ModelConfig
from audiosep_jax.models import folded, strips

SMALL = {"window_length": 64, "hop_length": 20, "encoder_widths": (4, 6, 8), "condition_size": 5}


@pytest.fixture
def wide(monkeypatch):
    """Counts blocks of a small model as wide: the two upper levels of three."""
    monkeypatch.setattr(strips, "_CHANNELS", 4)
    monkeypatch.setattr(strips, "_BINS", 16)
    monkeypatch.setattr(strips, "_POSITIONS", 32)


@pytest.mark.parametrize(
    ("film", "frames"),
    # 7 and 22 are filled up to 8 and 24, and 24 becomes 6 where time is pooled twice: no whole tiles.
    [("shift", 22), ("scale_shift", 7)],
)
def test_strips_give_the_logits_of_the_whole(wide, film, frames):
    config = ModelConfig(**SMALL, film=film, unused_tensors=film == "shift")
    params = folded.fold(config, drawn(config))
    columns = folded.film_columns(params, jnp.asarray(noise(2, 5, seed=1)))
    wide_params = strips.with_coefficients(config, params)
    assert [name for name in wide_params if wide_params[name].get("conv1", np.zeros(0)).ndim == 3] == [
        "encoder1",
        "encoder2",
    ]
    assert wide_params["decoder3"]["block"]["conv1"].shape == (36, 8, 4)
    magnitude = np.abs(noise(2, frames, 33))
    expected = jax.jit(lambda *a: folded.mask_logits(config, *a))(params, magnitude, columns)
    result = jax.jit(lambda *a: strips.mask_logits(config, *a))(wide_params, magnitude, columns)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(result, expected, atol=1e-5)


def test_nothing_as_large_as_a_joined_input_is_stored(wide):
    """Of the largest layer, the decoder's last, only halves and what one convolution makes of them."""
    config = ModelConfig(**SMALL)
    params = strips.with_coefficients(config, folded.fold(config, drawn(config)))
    magnitude = jax.ShapeDtypeStruct((1, 1024, 33), jnp.float32)
    columns = jax.ShapeDtypeStruct((1, params["film"]["bias"].shape[0]), jnp.float32)
    text = jax.jit(lambda *a: strips.mask_logits(config, *a)).lower(params, magnitude, columns).as_text()
    assert "tensor<1x1024x32x4xf32>" in text
    assert "tensor<1x1024x32x8xf32>" not in text
