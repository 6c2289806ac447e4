import numpy as np
import pytest

from audiosep_jax.evals.suites.pooling import bootstrap_pools, interval, p_value, pool

VALUES = np.array([1.0, 2.0, 9.0, 4.0, 5.0, 6.0])
CLASSES = ["a", "a", "a", "b", "b", "c"]


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


def test_an_interval_covers_the_mean_about_as_often_as_it_says():
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
        one = interval(float(values.mean()), draws)
        covered += one.low <= 3.0 <= one.high
    assert 180 <= covered <= 199


def test_p_values():
    assert p_value(np.ones(999)) == pytest.approx(2 / 1000)
    assert p_value(np.concatenate([np.ones(990), -np.ones(9)])) == pytest.approx(20 / 1000)
    assert p_value(np.zeros(999)) == 1.0
