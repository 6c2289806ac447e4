import numpy as np
import pytest

from audiosep_jax.evals.statistics import bootstrap_interval


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
