import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audiosep_jax.evals import metrics

GOLDEN = json.loads((Path(__file__).parents[1] / "data" / "golden_metrics.json").read_text("utf-8"))
SEED = 20231


def golden_waveform(samples, seed):
    """The signal that the golden records were computed with."""
    rng = np.random.default_rng([seed, 7])
    t = np.arange(samples) / 32_000
    chirp = 0.3 * np.sin(2 * np.pi * (200 * t + 300 * t * t))
    tone = 0.2 * np.sin(2 * np.pi * 1234.5 * t) * np.exp(-3 * t)
    return (chirp + tone + 0.05 * rng.standard_normal(samples)).astype(np.float32)


def golden_pair(index):
    reference = golden_waveform(16_000, SEED + 40 + index)
    estimate = 0.8 * reference + 0.1 * (index + 1) * golden_waveform(16_000, SEED + 60 + index)
    return (np.zeros_like(reference) if index == 5 else reference), estimate


def pair(samples=4000, seed=0, batch=()):
    rng = np.random.default_rng(seed)
    target = rng.standard_normal((*batch, samples))
    return target, 0.7 * target + 0.2 * rng.standard_normal((*batch, samples))


@pytest.mark.parametrize("index", range(6))
def test_golden_records_in_numpy(index):
    target, estimate = golden_pair(index)
    got = [metrics.sdr_db(target, estimate), metrics.si_sdr_db(target, estimate)]
    np.testing.assert_allclose(got, GOLDEN[str(index)], rtol=0, atol=1e-4)


def test_golden_records_in_jax_as_one_jitted_batch():
    targets, estimates = (np.stack(side) for side in zip(*map(golden_pair, range(6)), strict=True))
    sdr, si_sdr = jax.jit(lambda t, e: (metrics.sdr_db(t, e), metrics.si_sdr_db(t, e)))(targets, estimates)
    assert sdr.dtype == jnp.float32
    expected = np.array([GOLDEN[str(index)] for index in range(6)])
    np.testing.assert_allclose(np.stack([sdr, si_sdr], 1), expected, rtol=0, atol=1e-4)


def test_float32_in_jax_agrees_with_float64_on_long_waveforms():
    target, estimate = pair(samples=960_000, batch=(2,))
    target, estimate = target.astype(np.float32), estimate.astype(np.float32)
    mixture = target + np.float32(0.9)
    for function, arrays in (
        (metrics.sdr_db, (target, estimate)),
        (metrics.si_sdr_db, (target, estimate)),
        (metrics.sdri_db, (target, estimate, mixture)),
        (metrics.energy_ratio_db, (estimate, mixture)),
    ):
        exact = function(*arrays)
        assert exact.dtype == np.float64
        np.testing.assert_allclose(function(*map(jnp.asarray, arrays)), exact, rtol=0, atol=1e-4)


@given(scale=st.floats(1e-2, 1e2), sign=st.sampled_from([-1, 1]), seed=st.integers(0, 100))
@settings(max_examples=25, deadline=None)
def test_si_sdr_ignores_the_scale_of_the_estimate_and_sdr_does_not(scale, sign, seed):
    target, estimate = pair(seed=seed)
    before = metrics.si_sdr_db(target, estimate)
    np.testing.assert_allclose(metrics.si_sdr_db(target, sign * scale * estimate), before, rtol=0, atol=1e-4)
    if abs(np.log(scale)) > 1 or sign < 0:
        assert abs(metrics.sdr_db(target, sign * scale * estimate) - metrics.sdr_db(target, estimate)) > 0.1


@given(gain=st.floats(0.01, 10), seed=st.integers(0, 100))
@settings(max_examples=25, deadline=None)
def test_a_perfect_estimate_reaches_the_floor(gain, seed):
    target = gain * pair(seed=seed)[0]
    expected = 10 * np.log10(np.mean(target**2)) + 100
    np.testing.assert_allclose(metrics.sdr_db(target, target), expected, rtol=0, atol=1e-9)


def test_the_mixture_itself_improves_nothing_and_known_noise_gives_known_decibels():
    target = np.sqrt(2) * np.sin(2 * np.pi * 10 * np.arange(1000) / 1000)
    noise = np.sqrt(2) * np.cos(2 * np.pi * 10 * np.arange(1000) / 1000)
    mixture = target + noise
    assert metrics.sdri_db(target, mixture, mixture) == 0
    np.testing.assert_allclose(metrics.sdr_db(target, mixture), 0, atol=1e-9)
    np.testing.assert_allclose(metrics.sdri_db(target, target + 0.1 * noise, mixture), 20, atol=1e-9)
    np.testing.assert_allclose(metrics.si_sdr_db(target, target + 0.1 * noise), 20, atol=1e-4)
    np.testing.assert_allclose(metrics.energy_ratio_db(0.1 * mixture, mixture), -20, atol=1e-9)


def test_silence_gives_finite_values():
    zeros, noise = np.zeros(100), pair(samples=100)[0]
    for target, estimate in ((zeros, zeros), (zeros, noise), (noise, zeros)):
        for function in (metrics.sdr_db, metrics.si_sdr_db, metrics.energy_ratio_db):
            assert np.isfinite(function(target, estimate))


@pytest.mark.parametrize("garbage", [0.0, 1e6, np.nan, np.inf])
@pytest.mark.parametrize(
    ("to_device", "tolerance"), [(np.asarray, 1e-10), (jnp.asarray, 1e-4)], ids=["numpy", "jax"]
)
def test_padding_does_not_change_the_metrics(garbage, to_device, tolerance):
    target, estimate = (side.astype(np.float32) for side in pair(samples=1000, batch=(3,)))
    lengths = np.array([1000, 617, 1])
    padded = np.arange(1000) >= lengths[:, None]
    dirty = [to_device(np.where(padded, np.float32(garbage), side)) for side in (target, estimate)]
    clean = [to_device(np.where(padded, np.float32(0), side)) for side in (target, estimate)]
    for function in (metrics.sdr_db, metrics.si_sdr_db, metrics.energy_ratio_db):
        got = np.asarray(function(*dirty, lengths=to_device(lengths)))
        np.testing.assert_array_equal(got, np.asarray(function(*clean, lengths=to_device(lengths))))
        for row, length in enumerate(lengths):
            alone = function(target[row, :length], estimate[row, :length])
            np.testing.assert_allclose(got[row], alone, rtol=0, atol=tolerance)


def test_masking_under_jit_needs_one_compilation_for_all_lengths():
    target, estimate = (jnp.asarray(side, jnp.float32) for side in pair(samples=64, batch=(2,)))
    traces = []

    @jax.jit
    def measure(target, estimate, lengths):
        traces.append(None)
        return metrics.sdr_db(target, estimate, lengths=lengths)

    values = [measure(target, estimate, jnp.array([n, 64], jnp.int32)) for n in (3, 30, 64)]
    assert len(traces) == 1
    assert len({float(value[0]) for value in values}) == 3
    assert len({float(value[1]) for value in values}) == 1


def test_shapes_that_differ_are_named():
    # A type checker that watches the annotations names them first.
    with pytest.raises((ValueError, TypeError), match=r"2, ?11"):
        metrics.sdr_db(np.zeros((2, 10)), np.zeros((2, 11)))
