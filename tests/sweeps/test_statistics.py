"""Intervals that hold what they promise, and Holm's correction."""

import math

import numpy as np
import pytest
from scipy import stats

from audiosep_jax.sweeps.statistics import estimate, holm

NAN = float("nan")


def drawn(rng, *, seeds, recordings, per_recording, seed_sd, recording_sd, rest_sd=1.0):
    """[seeds, mixtures] around zero, with what seeds, recordings and mixtures bring."""
    shape = (seeds, recordings, per_recording)
    values = (
        seed_sd * rng.standard_normal((seeds, 1, 1))
        + recording_sd * rng.standard_normal((1, recordings, 1))
        + 0.5 * rng.standard_normal((1, recordings, per_recording))
        + rest_sd * rng.standard_normal(shape)
    )
    groups = [str(recording) for recording in range(recordings) for _ in range(per_recording)]
    return values.reshape(seeds, -1), groups


@pytest.mark.parametrize(
    ("seeds", "seed_sd", "recording_sd"),
    [(3, 0.0, 1.0), (3, 1.0, 0.0), (2, 0.5, 0.5)],
)
def test_an_interval_covers_the_truth_as_often_as_it_says(seeds, seed_sd, recording_sd):
    rng = np.random.default_rng(0)
    times, covered, refused = 600, 0, 0
    for _ in range(times):
        values, groups = drawn(
            rng, seeds=seeds, recordings=20, per_recording=2, seed_sd=seed_sd, recording_sd=recording_sd
        )
        one = estimate(values, groups)
        covered += one.low <= 0 <= one.high
        refused += one.p_value < 0.05
    assert covered / times > 0.95 - 2 * 0.009  # two standard errors of a count of 600
    assert refused == times - covered


def test_a_bootstrap_of_three_seeds_would_not():
    rng, times, covered = np.random.default_rng(1), 400, 0
    for _ in range(times):
        values, _ = drawn(rng, seeds=3, recordings=20, per_recording=2, seed_sd=1.0, recording_sd=0.0)
        means = values.mean(1)
        low, high = np.percentile(means[rng.integers(0, 3, (1000, 3))].mean(1), [2.5, 97.5])
        covered += low <= 0 <= high
    assert covered / times < 0.85


def test_it_is_students_t_where_only_seeds_differ():
    means = np.array([1.0, 2.0, 4.0])
    one = estimate(np.repeat(means[:, None], 4, axis=1), list("aabb"))
    reference = stats.ttest_1samp(means, 0)
    assert one.mean == pytest.approx(7 / 3)
    assert one.p_value == pytest.approx(reference.pvalue)
    assert (one.low, one.high) == pytest.approx(tuple(reference.confidence_interval()))
    assert one.mixture_error == 0


def test_it_is_students_t_where_only_recordings_differ():
    values = np.array([1.0, 2.0, 4.0, 3.5])
    one = estimate(np.stack([values, values]), list("abcd"))
    reference = stats.ttest_1samp(values, 0)
    assert one.p_value == pytest.approx(reference.pvalue)
    assert (one.low, one.high) == pytest.approx(tuple(reference.confidence_interval()))


def test_both_parts_by_hand():
    values = np.array([[1.0, 2.0, 3.0], [2.0, 2.0, 5.0]])
    a = np.var([2, 3], ddof=1) / 2
    b = np.var([1.5, 2, 4], ddof=1) / 3
    one = estimate(values, list("abc"))
    assert (one.seed_error**2, one.mixture_error**2) == pytest.approx((a, b))

    def critical(alpha):
        return (a * stats.t.isf(alpha / 2, 1) + b * stats.t.isf(alpha / 2, 2)) / (a + b)

    reach = critical(0.05) * math.sqrt(a + b)
    assert (one.low, one.high) == pytest.approx((2.5 - reach, 2.5 + reach))
    assert critical(one.p_value) * math.sqrt(a + b) == pytest.approx(2.5)


def test_mixtures_of_one_recording_are_no_independent_witnesses():
    rng = np.random.default_rng(2)
    values = np.repeat(rng.standard_normal((2, 10)), 5, axis=1)
    clustered = estimate(values, [str(index // 5) for index in range(50)])
    alone = estimate(values, [str(index) for index in range(50)])
    assert clustered.mixture_error > 2 * alone.mixture_error


def test_one_seed_says_something_about_mixtures_alone():
    one = estimate(np.array([[1.0, 2.0, 3.0]]), list("abc"))
    assert math.isnan(one.seed_error)
    assert one.low == pytest.approx(stats.ttest_1samp([1, 2, 3], 0).confidence_interval().low)
    nothing = estimate(np.array([[1.0, 2.0]]), list("aa"))
    assert nothing.mean == 1.5
    assert all(map(math.isnan, (nothing.low, nothing.high, nothing.p_value)))


def test_values_that_do_not_vary():
    rounded = 0.1 + np.arange(6).reshape(2, 3) * 1e-12
    for values in (np.zeros((2, 3)), np.ones((2, 3)), rounded):
        one = estimate(values, list("abc"))
        assert all(map(math.isnan, (one.low, one.high, one.p_value)))
        assert one.mean == pytest.approx(values.mean())
        assert (one.seed_error, one.mixture_error) == pytest.approx((0, 0), abs=1e-9)
    assert estimate(np.array([[1.0, -1.0]]), list("ab")).p_value == pytest.approx(1)


def test_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match="3 groups: got shape"):
        estimate(np.zeros((2, 2)), list("abc"))


@pytest.mark.parametrize(
    ("given", "corrected"),
    [
        ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]),
        ([0.04, 0.04], [0.08, 0.08]),
        ([0.9, 0.8], [1.0, 1.0]),
        ([0.02, NAN], [0.02, NAN]),
        ([], []),
    ],
)
def test_holm(given, corrected):
    assert holm(given) == pytest.approx(corrected, nan_ok=True)
