"""Bootstrap intervals, pools of classes, intervals over seeds and recordings, and Holm's correction."""

import math

import numpy as np
import pytest
from scipy import stats

from audiosep_jax.evals.statistics import (
    bootstrap_interval,
    bootstrap_pools,
    crossed_mean,
    holm,
    p_value,
    percentile_interval,
    pool,
)

VALUES = np.array([1.0, 2.0, 9.0, 4.0, 5.0, 6.0])
CLASSES = ["a", "a", "a", "b", "b", "c"]
NAN = float("nan")


def test_the_interval_covers_the_true_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(300):
        interval = bootstrap_interval(rng.normal(3.0, 2.0, 60), resamples=500, seed=trial)
        hits += interval.low <= 3.0 <= interval.high
    assert 0.90 <= hits / 300 <= 0.985


def test_drawing_whole_groups_covers_where_drawing_examples_does_not():
    rng = np.random.default_rng(1)
    groups = [f"clip {index // 10}" for index in range(300)]
    hits = {"examples": 0, "groups": 0}
    for trial in range(200):
        # Ten mixtures of one clip share most of their difficulty.
        values = 5 + np.repeat(rng.normal(0, 3, 30), 10) + rng.normal(0, 0.5, 300)
        for name, given in (("examples", None), ("groups", groups)):
            interval = bootstrap_interval(values, groups=given, resamples=400, seed=trial)
            hits[name] += interval.low <= 5 <= interval.high
    assert hits["groups"] / 200 > 0.88
    assert hits["examples"] / 200 < 0.6


def test_the_half_width_is_that_of_the_normal_theory():
    values = np.random.default_rng(2).normal(0, 1, 400)
    interval = bootstrap_interval(values, resamples=8000)
    expected = 1.96 * values.std() / 20
    assert interval.mean == pytest.approx(values.mean())
    np.testing.assert_allclose(
        [interval.mean - interval.low, interval.high - interval.mean], expected, rtol=0.08
    )


def test_the_same_seed_gives_the_same_interval_and_one_value_gives_itself():
    values = np.arange(20.0)
    assert bootstrap_interval(values, seed=3) == bootstrap_interval(values, seed=3)
    assert bootstrap_interval(values, seed=3) != bootstrap_interval(values, seed=4)
    one = bootstrap_interval(np.array([2.5]))
    assert (one.mean, one.low, one.high) == (2.5, 2.5, 2.5)


def test_groups_of_unequal_size_weigh_their_examples_equally():
    interval = bootstrap_interval(np.array([0.0, 0.0, 0.0, 4.0]), groups=["a", "a", "a", "b"])
    assert interval.mean == 1.0
    assert (interval.low, interval.high) == (0.0, 4.0)


@pytest.mark.parametrize("level", [0.5, 0.8, 0.99])
def test_a_lower_level_gives_a_narrower_interval(level):
    values = np.random.default_rng(4).normal(0, 1, 100)
    narrow = bootstrap_interval(values, level=level - 0.1)
    wide = bootstrap_interval(values, level=level)
    assert wide.low < narrow.low < narrow.high < wide.high


def test_unusable_values_are_refused():
    with pytest.raises(ValueError, match="one or more values"):
        bootstrap_interval(np.array([]))
    with pytest.raises(ValueError, match="2 values need as many groups: got 1"):
        bootstrap_interval(np.array([1.0, 2.0]), groups=["a"])


def test_pools_are_means_and_medians_of_classes():
    assert pool(VALUES, classes=CLASSES, pooling="mean") == pytest.approx(27 / 6)
    assert pool(VALUES, classes=CLASSES, pooling="class_mean") == pytest.approx((4 + 4.5 + 6) / 3)
    assert pool(VALUES, classes=CLASSES, pooling="class_median") == pytest.approx((2 + 4.5 + 6) / 3)


@pytest.mark.parametrize("pooling", ["mean", "class_mean", "class_median"])
def test_draws_are_pools_of_drawn_recordings(pooling):
    """Every draw must be the pool of some choice of whole recordings: all choices are few here."""
    sources = ["r", "r", "s", "t", "u", "v"]
    draws = bootstrap_pools(
        VALUES[None], classes=CLASSES, sources=sources, pooling=pooling, resamples=600, seed=1
    )[0]
    strata = {"": range(6)} if pooling == "mean" else {"a": (0, 1, 2), "b": (3, 4), "c": (5,)}
    possible = [[]]
    for rows in strata.values():
        recordings = sorted({sources[row] for row in rows})
        choices = np.stack(np.meshgrid(*[recordings] * len(recordings)), -1).reshape(-1, len(recordings))
        pools = set()
        for choice in choices:
            drawn = np.concatenate([[VALUES[row] for row in rows if sources[row] == name] for name in choice])
            pools.add(float(np.median(drawn) if pooling == "class_median" else np.mean(drawn)))
        possible = [[*before, one] for before in possible for one in pools]
    allowed = np.unique([np.mean(one) for one in possible])
    distance = np.abs(draws[:, None] - allowed[None]).min(1)
    assert distance.max() < 1e-9
    assert len(np.unique(draws.round(9))) > 3


def test_an_interval_of_pools_covers_the_mean_about_as_often_as_it_says():
    covered = 0
    for seed in range(200):
        values = np.random.default_rng(seed).normal(3.0, 2.0, 60)
        draws = bootstrap_pools(
            values[None],
            classes=[""] * 60,
            sources=[str(i) for i in range(60)],
            pooling="mean",
            resamples=400,
        )[0]
        one = percentile_interval(float(values.mean()), draws)
        covered += one.low <= 3.0 <= one.high
    assert 180 <= covered <= 199


def test_p_values():
    assert p_value(np.ones(999)) == pytest.approx(2 / 1000)
    assert p_value(np.concatenate([np.ones(990), -np.ones(9)])) == pytest.approx(20 / 1000)
    assert p_value(np.zeros(999)) == 1.0


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
def test_a_crossed_interval_covers_the_truth_as_often_as_it_says(seeds, seed_sd, recording_sd):
    rng = np.random.default_rng(0)
    times, covered, refused = 600, 0, 0
    for _ in range(times):
        values, groups = drawn(
            rng, seeds=seeds, recordings=20, per_recording=2, seed_sd=seed_sd, recording_sd=recording_sd
        )
        one = crossed_mean(values, groups)
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


def test_a_crossed_mean_is_students_t_where_only_seeds_differ():
    means = np.array([1.0, 2.0, 4.0])
    one = crossed_mean(np.repeat(means[:, None], 4, axis=1), list("aabb"))
    reference = stats.ttest_1samp(means, 0)
    assert one.mean == pytest.approx(7 / 3)
    assert one.p_value == pytest.approx(reference.pvalue)
    assert (one.low, one.high) == pytest.approx(tuple(reference.confidence_interval()))
    assert one.mixture_error == 0


def test_a_crossed_mean_is_students_t_where_only_recordings_differ():
    values = np.array([1.0, 2.0, 4.0, 3.5])
    one = crossed_mean(np.stack([values, values]), list("abcd"))
    reference = stats.ttest_1samp(values, 0)
    assert one.p_value == pytest.approx(reference.pvalue)
    assert (one.low, one.high) == pytest.approx(tuple(reference.confidence_interval()))


def test_both_parts_by_hand():
    values = np.array([[1.0, 2.0, 3.0], [2.0, 2.0, 5.0]])
    a = np.var([2, 3], ddof=1) / 2
    b = np.var([1.5, 2, 4], ddof=1) / 3
    one = crossed_mean(values, list("abc"))
    assert (one.seed_error**2, one.mixture_error**2) == pytest.approx((a, b))

    def critical(alpha):
        return (a * stats.t.isf(alpha / 2, 1) + b * stats.t.isf(alpha / 2, 2)) / (a + b)

    reach = critical(0.05) * math.sqrt(a + b)
    assert (one.low, one.high) == pytest.approx((2.5 - reach, 2.5 + reach))
    assert critical(one.p_value) * math.sqrt(a + b) == pytest.approx(2.5)


def test_mixtures_of_one_recording_are_clustered():
    rng = np.random.default_rng(2)
    values = np.repeat(rng.standard_normal((2, 10)), 5, axis=1)
    clustered = crossed_mean(values, [str(index // 5) for index in range(50)])
    alone = crossed_mean(values, [str(index) for index in range(50)])
    assert clustered.mixture_error > 2 * alone.mixture_error


def test_one_seed_gives_an_interval_over_mixtures_alone():
    one = crossed_mean(np.array([[1.0, 2.0, 3.0]]), list("abc"))
    assert math.isnan(one.seed_error)
    assert one.low == pytest.approx(stats.ttest_1samp([1, 2, 3], 0).confidence_interval().low)
    nothing = crossed_mean(np.array([[1.0, 2.0]]), list("aa"))
    assert nothing.mean == 1.5
    assert all(map(math.isnan, (nothing.low, nothing.high, nothing.p_value)))


def test_values_that_do_not_vary_have_no_interval():
    rounded = 0.1 + np.arange(6).reshape(2, 3) * 1e-12
    for values in (np.zeros((2, 3)), np.ones((2, 3)), rounded):
        one = crossed_mean(values, list("abc"))
        assert all(map(math.isnan, (one.low, one.high, one.p_value)))
        assert one.mean == pytest.approx(values.mean())
        assert (one.seed_error, one.mixture_error) == pytest.approx((0, 0), abs=1e-9)
    assert crossed_mean(np.array([[1.0, -1.0]]), list("ab")).p_value == pytest.approx(1)


def test_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match="3 groups: got shape"):
        crossed_mean(np.zeros((2, 2)), list("abc"))


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
