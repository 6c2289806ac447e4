"""Estimate + residual is the mixture: bit for bit on PCM steps, within half a step elsewhere."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from audiosep_jax.audio.residual import split, split_stems, split_stems_steps, split_steps

FLOAT = st.floats(-4, 4, width=32)


@given(st.data(), st.sampled_from([8, 16, 24]), st.floats(2**-20, 1))
def test_float32_sum_is_bit_exact_for_decoded_pcm(data, bits, loudness):
    top = max(1, int(2 ** (bits - 1) * loudness))
    steps = data.draw(hnp.arrays(np.int64, 16, elements=st.integers(-top, top - 1)))
    mixture = (steps / 2 ** (bits - 1)).astype(np.float32)
    wanted = data.draw(hnp.arrays(np.float32, 16, elements=FLOAT))
    estimate, residual = split(mixture, wanted, peak=float(np.abs(mixture).max()))
    np.testing.assert_array_equal(estimate + residual, mixture)
    assert estimate.dtype == residual.dtype == np.float32


@given(hnp.arrays(np.float32, 16, elements=FLOAT), hnp.arrays(np.float32, 16, elements=FLOAT))
def test_float32_sum_is_within_half_a_step_for_any_mixture(mixture, wanted):
    peak = float(np.abs(mixture).max())
    estimate, residual = split(mixture, wanted, peak=peak)
    error = np.abs(estimate.astype(np.float64) + residual - mixture)
    assert error.max() <= 2**-23 * peak
    near = np.abs(wanted) <= peak
    assert np.abs(estimate - wanted)[near].max(initial=0) <= 2**-23 * peak


def test_rounding_the_residual_alone_would_not_be_exact():
    draw = np.random.default_rng(0)
    mixture = (draw.integers(-(2**15), 2**15, 10_000) / 2**15).astype(np.float32)
    wanted = draw.uniform(-1, 1, 10_000).astype(np.float32)
    assert (wanted + (mixture - wanted) != mixture).any()
    estimate, residual = split(mixture, wanted, peak=1.0)
    np.testing.assert_array_equal(estimate + residual, mixture)


def test_silence_stays_silence():
    estimate, residual = split(np.zeros(4, np.float32), np.ones(4, np.float32), peak=0.0)
    assert not estimate.any()
    assert not residual.any()


@given(data=st.data(), bits=st.sampled_from([8, 16, 24, 32]))
def test_pcm_steps_add_up_and_fit_even_at_full_scale(bits, data):
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    edge = st.sampled_from([low, low + 1, -1, 0, 1, high - 1, high]) | st.integers(low, high)
    mixture = data.draw(hnp.arrays(np.int64, 16, elements=edge))
    wanted = data.draw(hnp.arrays(np.float32, 16, elements=FLOAT))
    estimate, residual = split_steps(mixture, wanted, bits=bits)
    np.testing.assert_array_equal(estimate + residual, mixture)
    for part in (estimate, residual):
        assert part.min() >= low
        assert part.max() <= high


def test_pcm_estimate_is_the_nearest_step_where_the_residual_fits():
    estimate, residual = split_steps(np.array([100, 100]), np.float32([10.4 / 32768, -10.6 / 32768]), bits=16)
    np.testing.assert_array_equal(estimate, [10, -11])
    np.testing.assert_array_equal(residual, [90, 111])


@given(st.data(), st.integers(1, 4), st.sampled_from([8, 16, 24]), st.floats(2**-20, 1))
def test_stems_and_rest_in_their_order_are_the_mixture_bit_for_bit(data, stems, bits, loudness):
    top = max(1, int(2 ** (bits - 1) * loudness))
    steps = data.draw(hnp.arrays(np.int64, 16, elements=st.integers(-top, top - 1)))
    mixture = (steps / 2 ** (bits - 1)).astype(np.float32)
    wanted = data.draw(hnp.arrays(np.float32, (stems, 16), elements=FLOAT))
    parts, rest = split_stems(mixture, wanted, peak=float(np.abs(mixture).max()))
    total = np.zeros_like(mixture)
    for part in (*parts, rest):  # in float32, one after the other
        total = total + part
    np.testing.assert_array_equal(total, mixture)
    assert parts.dtype == rest.dtype == np.float32


@given(data=st.data(), stems=st.integers(1, 4), bits=st.sampled_from([8, 16, 24, 32]))
def test_stems_of_pcm_add_up_and_fit_even_at_full_scale(data, stems, bits):
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    edge = st.sampled_from([low, -1, 0, 1, high]) | st.integers(low, high)
    mixture = data.draw(hnp.arrays(np.int64, 16, elements=edge))
    wanted = data.draw(hnp.arrays(np.float32, (stems, 16), elements=FLOAT))
    parts, rest = split_stems_steps(mixture, wanted, bits=bits)
    np.testing.assert_array_equal(parts.sum(axis=0) + rest, mixture)
    for part in (*parts, rest):
        assert part.min() >= low
        assert part.max() <= high


def test_one_stem_is_an_estimate():
    mixture, wanted = np.random.default_rng(0).uniform(-1, 1, (2, 1000)).astype(np.float32)
    (part,), rest = split_stems(mixture, wanted[None], peak=1.0)
    estimate, residual = split(mixture, wanted, peak=1.0)
    np.testing.assert_array_equal(part, estimate)
    np.testing.assert_array_equal(rest, residual)
