"""From a value per mixture to a number per dataset, with what a bootstrap says about its certainty."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from audiosep_jax.evals.statistics import Interval
from audiosep_jax.evals.suites.definitions import Pooling

RESAMPLES = 2000
LEVEL = 0.95

# Draws that are held in memory at once.
_BLOCK = 250


def pool(values: Float[np.ndarray, " mixtures"], *, classes: Sequence[str], pooling: Pooling) -> float:
    """Returns the mean of all values, or the mean over classes of their means or medians.

    Args:
      values: `[mixtures]`.
      classes: of each mixture; not looked at where all are pooled.
      pooling: how.
    """
    if pooling == "mean":
        return float(values.mean())
    inner = np.mean if pooling == "class_mean" else np.median
    names = np.asarray(classes)
    return float(np.mean([inner(values[names == name]) for name in sorted(set(classes))]))


def bootstrap_pools(
    values: Float[np.ndarray, "metrics mixtures"],
    *,
    classes: Sequence[str],
    sources: Sequence[str],
    pooling: Pooling,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Float[np.ndarray, "metrics resamples"]:
    """Returns `pool` of resampled mixtures: what other recordings would have given.

    Recordings are drawn with all their mixtures (the cluster bootstrap), and within their class where
    classes are pooled, so that every class keeps its weight. Rows of `values` meet the same draws.

    Args:
      values: `[metrics, mixtures]`.
      classes: of each mixture.
      sources: recording of each mixture.
      pooling: as for `pool`.
      resamples: number of draws.
      seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    names = np.asarray(classes if pooling != "mean" else [""] * values.shape[1])
    pools = np.zeros((len(values), resamples))
    strata = sorted(set(names.tolist()))
    for name in strata:
        rows = np.flatnonzero(names == name)
        recordings, member = np.unique(np.asarray(sources)[rows], return_inverse=True)
        own = values[:, rows]
        for start in range(0, resamples, _BLOCK):
            size = min(_BLOCK, resamples - start)
            drawn = rng.integers(0, len(recordings), (size, len(recordings)))
            # How often each recording was drawn.
            offsets = np.arange(size)[:, None] * len(recordings)
            times = np.bincount((drawn + offsets).ravel(), minlength=size * len(recordings))
            weights = times.reshape(size, len(recordings))[:, member]
            inner = _medians(own, weights) if pooling == "class_median" else _means(own, weights)
            pools[:, start : start + size] += inner
    return pools / len(strata)


def interval(mean: float, draws: Float[np.ndarray, " resamples"], *, level: float = LEVEL) -> Interval:
    """Returns the percentile interval of bootstrap draws around the pooled value."""
    tail = 50 * (1 - level)
    low, high = np.percentile(draws, [tail, 100 - tail])
    return Interval(mean=mean, low=float(low), high=float(high))


def p_value(differences: Float[np.ndarray, " resamples"]) -> float:
    """Returns the two-sided bootstrap p-value of a difference: how often it has the other sign, doubled.

    One draw of either sign is added, so that no number of draws proves a difference beyond doubt.
    """
    count = len(differences)
    below, above = (np.count_nonzero(differences <= 0), np.count_nonzero(differences >= 0))
    return float(min(1.0, 2 * (min(below, above) + 1) / (count + 1)))


def _means(
    values: Float[np.ndarray, "metrics rows"], weights: Int[np.ndarray, "draws rows"]
) -> Float[np.ndarray, "metrics draws"]:
    return values @ weights.T / weights.sum(1)


def _medians(
    values: Float[np.ndarray, "metrics rows"], weights: Int[np.ndarray, "draws rows"]
) -> Float[np.ndarray, "metrics draws"]:
    """Medians where each value counts as often as it was drawn."""
    medians = np.empty((len(values), len(weights)))
    total = weights.sum(1)
    for metric, own in enumerate(values):
        order = np.argsort(own)
        upto = np.cumsum(weights[:, order], axis=1)
        middle = [own[order][(upto > place[:, None]).argmax(1)] for place in ((total - 1) // 2, total // 2)]
        medians[metric] = (middle[0] + middle[1]) / 2
    return medians
