"""The network in strips equals the network in one piece, for both kinds of FiLM and lengths off the tiles."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawn_models import drawn, noise

from audiosep_jax.config import ModelConfig
from audiosep_jax.models.inference import folded, strip_loops, strips, winograd

SMALL = {"window_length": 64, "hop_length": 20, "encoder_widths": (4, 6, 8), "condition_size": 5}


@pytest.fixture
def wide(monkeypatch):
    """Counts blocks of a small model as wide: the two upper levels of three."""
    monkeypatch.setattr(strips, "_CHANNELS", 4)
    monkeypatch.setattr(strips, "_BINS", 16)
    monkeypatch.setattr(strip_loops, "_TILES", 32)
    monkeypatch.setattr(strip_loops, "_STRIPS", 1)


@pytest.mark.parametrize(
    ("film", "frames"),
    # 7 and 22 are filled up to 8 and 24, and 24 becomes 6 where time is pooled twice: no whole tiles.
    [("shift", 22), ("scale_shift", 7)],
)
def test_strips_equal_the_whole(wide, film, frames):
    config = ModelConfig(**SMALL, film=film, unused_tensors=film == "shift")
    params = folded.fold(config, drawn(config))
    columns = folded.film_columns(params, jnp.asarray(noise(2, 5, seed=1)))
    assert strips.wide_blocks(config) == {"encoder1", "encoder2", "decoder2", "decoder3"}
    magnitude = np.abs(noise(2, frames, 33))
    expected = jax.jit(lambda *a: folded.mask_logits(config, *a))(params, magnitude, columns)
    result = jax.jit(lambda *a: strips.mask_logits(config, *a))(params, magnitude, columns)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(result, expected, atol=1e-5)


def any_config(draw):
    """Any valid shape: levels of few bins, of many, and of bins that are no whole tiles."""
    depth = int(draw.integers(2, 4))
    patch = int(draw.choice([1, 1, 2, 3]))
    window = 2 * patch * 2**depth * int(draw.integers(2, 12))
    return ModelConfig(
        window_length=window,
        patch_bins=patch,
        hop_length=int(draw.integers(1, window // 2 + 1)),
        encoder_widths=tuple(int(width) for width in draw.integers(2, 9, size=depth)),
        bottleneck_blocks=int(draw.integers(1, 3)),
        condition_size=3,
        film=str(draw.choice(["shift", "scale_shift"])),
        unused_tensors=False,
    )


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 10))])
def test_strips_equal_the_whole_for_every_valid_shape(wide, monkeypatch, seed):
    monkeypatch.setattr(strips, "_BINS", 5)
    draw = np.random.default_rng(seed)
    config, batch, frames = any_config(draw), int(draw.integers(1, 3)), int(draw.integers(1, 40))
    params = folded.fold(config, drawn(config))
    columns = folded.film_columns(params, jnp.asarray(noise(batch, 3, seed=1)))
    magnitude = jnp.abs(noise(batch, frames, config.window_length // 2 + 1))
    expected = folded.mask_logits(config, jax.tree.map(jnp.asarray, params), magnitude, columns)
    result = jax.jit(lambda *a: strips.mask_logits(config, *a))(params, magnitude, columns)
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4)


def test_xla_computes_levels_without_whole_tiles():
    """520 bins, then 260, then 130, at the sizes that count as wide."""
    config = ModelConfig(window_length=1040, hop_length=260, encoder_widths=(32, 32, 32), condition_size=3)
    assert 130 % winograd.TILE
    params = folded.fold(config, drawn(config))
    assert strips.wide_blocks(config) == {"encoder1", "encoder2", "decoder2", "decoder3"}
    magnitude, columns = noise(1, 7, 521), noise(1, params["film"]["bias"].shape[0])
    result = jax.eval_shape(lambda *a: strips.mask_logits(config, *a), params, magnitude, columns)
    assert result.shape == (1, 7, 521, 3)


def test_only_the_skip_of_the_largest_layer_is_stored(wide):
    """Not the output of a convolution, the upsampled rows or the join of both."""
    config = ModelConfig(**SMALL)
    params = folded.fold(config, drawn(config))
    magnitude = jax.ShapeDtypeStruct((1, 4096, 33), jnp.float32)
    columns = jax.ShapeDtypeStruct((1, params["film"]["bias"].shape[0]), jnp.float32)
    program = jax.jit(lambda *a: strips.mask_logits(config, *a)).lower(params, magnitude, columns).compile()
    largest = 4096 * 32 * 4 * 4
    # The skip, what the level below leaves, the logits, and frames around them.
    assert program.memory_analysis().temp_size_in_bytes < 2.6 * largest


def test_strips_are_whole_tiles_of_at_least_lag_rows():
    rows = {shape: strip_loops.strip_rows(*shape) for shape in ((1024, 1024), (256, 256), (20, 256), (4, 64))}
    assert rows == {(1024, 1024): 16, (256, 256): 32, (20, 256): 8, (4, 64): 8}
    for time, freq in itertools.product(range(1, 200, 7), (8, 60, 2048)):
        assert strip_loops.strip_rows(time, freq) % winograd.TILE == 0
        assert strip_loops.strip_rows(time, freq) >= strip_loops.LAG
