"""Confidence intervals of a mean by the percentile bootstrap."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean with its confidence interval, in the unit of the values."""

    mean: float
    low: float
    high: float


def bootstrap_interval(
    values: Float[np.ndarray, " examples"],
    *,
    groups: Sequence[str] | None = None,
    level: float = 0.95,
    resamples: int = 4000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval of the mean (Efron & Tibshirani 1993, chapter 13).

    Mixtures that share a clip are not independent. With `groups`, whole groups are drawn (the cluster
    bootstrap), so that many mixtures of few clips do not look more certain than they are.

    Args:
      values: `[examples]`.
      groups: a name per example; examples of one name are drawn together. None draws single examples.
      level: share of the bootstrap means inside the interval.
      resamples: number of bootstrap draws.
      seed: of the draws.

    Returns:
      The mean of all values, with the interval's ends.

    Raises:
      ValueError: no values, or not one group per value.
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or not values.size:
        raise ValueError(f"one or more values in one dimension are needed: got shape {values.shape}.")
    if groups is None:
        sums, counts = values, np.ones_like(values)
    else:
        if len(groups) != len(values):
            raise ValueError(f"{len(values)} values need as many groups: got {len(groups)}.")
        names, member = np.unique(np.asarray(groups), return_inverse=True)
        sums = np.bincount(member, weights=values, minlength=len(names))
        counts = np.bincount(member, minlength=len(names)).astype(np.float64)
    draws = np.random.default_rng(seed).integers(0, len(sums), (resamples, len(sums)))
    means = sums[draws].sum(1) / counts[draws].sum(1)
    tail = 50 * (1 - level)
    low, high = np.percentile(means, [tail, 100 - tail])
    return Interval(mean=float(values.mean()), low=float(low), high=float(high))
