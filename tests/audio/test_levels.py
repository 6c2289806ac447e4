"""The level of a recording: what it ignores, and that gains and block sizes move it as they should."""

import math

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from audiosep_jax.audio import levels
from audiosep_jax.audio.levels import LevelMeter, at_working_level, gain_to, level_db, row_gains

RATE = 8000


def noise(seconds, *, rms_db=-30.0, channels=1, seed=0):
    draw = np.random.default_rng(seed).normal(size=(channels, round(seconds * RATE)))
    return (10 ** (rms_db / 20) * draw).astype(np.float32)


def measured(mixture):
    return level_db(mixture, sample_rate_hz=RATE)


def test_the_level_of_steady_sound_is_its_root_mean_square():
    assert measured(noise(5)) == pytest.approx(-30, abs=0.3)
    assert measured(noise(5, channels=2)) == pytest.approx(-30, abs=0.3)


def test_a_sine_at_full_scale_has_minus_3_db():
    sine = np.sin(2 * np.pi * 100 * np.arange(RATE) / RATE)[None]
    assert measured(sine) == pytest.approx(-3.01, abs=0.01)


def test_long_silence_does_not_lower_it():
    sound, quiet = noise(2), noise(60, rms_db=-80, seed=1)
    alone = measured(sound)
    assert measured(np.concatenate([quiet, sound, quiet], axis=1)) == pytest.approx(alone, abs=0.5)
    assert measured(np.concatenate([0 * quiet, sound], axis=1)) == pytest.approx(alone, abs=0.1)


@pytest.mark.parametrize("at", [0, 1.0, 2.2, 2.99])
def test_a_click_does_not_raise_it(at):
    clicked = noise(3, rms_db=-60)
    start = round(at * RATE)
    clicked[:, start : start + 80] = 1.0
    assert measured(clicked) == pytest.approx(-60, abs=1)


def test_a_constant_part_does_not_raise_it():
    assert measured(noise(3) + np.float32(0.5)) == pytest.approx(measured(noise(3)), abs=0.01)


def test_a_constant_and_silence_have_no_level():
    for mixture in (
        np.zeros((2, RATE)),
        np.full((1, RATE), 0.3, np.float32),
        np.zeros((1, 0)),
        np.ones((1, 1)),
    ):
        assert measured(mixture) == -math.inf
        assert gain_to(-20, measured(mixture)) == 1


def test_a_click_alone_in_silence_is_the_sound():
    mixture = np.zeros((1, 3 * RATE), np.float32)
    mixture[:, 100:150] = noise(50 / RATE)
    assert measured(mixture) > -60


def test_sound_of_denormal_numbers_gets_no_absurd_gain():
    mixture = (noise(1, rms_db=0) * 1e-40).astype(np.float32)
    assert mixture.any()
    assert gain_to(-20, measured(mixture)) == np.float32(10 ** (80 / 20))
    assert gain_to(-20, -150.0) == gain_to(-20, levels.QUIETEST_DB) == 10_000


@hypothesis.given(
    samples=st.integers(2, 3 * RATE),
    channels=st.integers(1, 3),
    gain_db=st.floats(-60, 0),
    seed=st.integers(0, 5),
)
@hypothesis.settings(max_examples=40, deadline=None)
def test_a_gain_moves_the_level_by_itself(samples, channels, gain_db, seed):
    mixture = noise(3, rms_db=-25, channels=channels, seed=seed)[:, :samples]
    scaled = (mixture * 10 ** (gain_db / 20)).astype(np.float32)
    assert measured(scaled) - measured(mixture) == pytest.approx(gain_db, abs=1e-4)


@hypothesis.given(size=st.integers(1, 7000), first=st.integers(0, 2000))
@hypothesis.settings(max_examples=30, deadline=None)
def test_the_sizes_of_blocks_change_nothing(size, first):
    mixture = noise(2, channels=2)
    meter = LevelMeter(channels=2, sample_rate_hz=RATE)
    meter.push(mixture[:, :first])
    for start in range(first, mixture.shape[1], size):
        meter.push(mixture[:, start : start + size])
    assert meter.level_db() == measured(mixture)


def test_the_level_of_the_last_seconds_forgets_what_was_before():
    meter = LevelMeter(channels=1, sample_rate_hz=RATE)
    meter.push(noise(10, rms_db=-10))
    meter.push(noise(10, rms_db=-50, seed=1))
    assert meter.level_before_db(10 * RATE, seconds=5) == pytest.approx(-10, abs=0.5)
    assert meter.level_before_db(12 * RATE, seconds=5) == pytest.approx(-10, abs=0.5)
    assert meter.level_before_db(20 * RATE, seconds=5) == pytest.approx(-50, abs=0.5)
    kept = meter.level_before_db(20 * RATE, seconds=8)
    meter.forget(seconds=8)
    assert meter.level_before_db(20 * RATE, seconds=8) == kept
    meter.push(noise(1, rms_db=-20))
    assert meter.level_before_db(21 * RATE, seconds=5) == pytest.approx(-20, abs=0.5)


def test_every_row_of_a_batch_is_brought_to_the_level_and_back():
    rows = np.concatenate([noise(1, rms_db=-60), noise(1, rms_db=3, seed=1), np.zeros((1, RATE), np.float32)])
    heard = []

    def apply(mixture, condition):
        heard.append(mixture)
        return 0.5 * mixture

    estimate = at_working_level(apply, sample_rate_hz=RATE, working_level_db=-25.0)(rows, None)
    np.testing.assert_allclose(estimate, 0.5 * rows, rtol=1e-6)
    assert [measured(row[None]) for row in heard[0][:2]] == pytest.approx([-25, -25], abs=1e-4)
    assert not heard[0][2].any()
    assert at_working_level(apply, sample_rate_hz=RATE, working_level_db=None) is apply
    assert row_gains([rows[0], rows[1][:100]], sample_rate_hz=RATE, working_level_db=-25.0).shape == (2, 1)
