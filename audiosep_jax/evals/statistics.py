"""Confidence intervals of means: bootstraps over recordings, and Student's t over seeds and recordings."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

Pooling = Literal["mean", "class_mean", "class_median"]

LEVEL = 0.95
RESAMPLES = 2000

# Draws that are held in memory at once.
_BLOCK = 250
_SMALLEST_P = 1e-15
# Metrics are computed in single precision: an error below this (dB) is rounding.
_NO_ERROR = 1e-9


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
    level: float = LEVEL,
    resamples: int = 4000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval of the mean (Efron & Tibshirani 1993, chapter 13).

    Mixtures that share a clip are not independent. With `groups`, a name per example, whole groups are drawn
    (the cluster bootstrap), so that many mixtures of few clips do not look more certain than they are.
    `level` is the share of the bootstrap means inside the interval.

    Raises:
      ValueError: no values, or not one group per value.

    Examples:
      >>> bootstrap_interval(np.array([0.0, 0.0, 0.0, 4.0]), groups=["a", "a", "a", "b"])
      Interval(mean=1.0, low=0.0, high=4.0)
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
    return percentile_interval(float(values.mean()), means, level=level)


def percentile_interval(
    mean: float, draws: Float[np.ndarray, " resamples"], *, level: float = LEVEL
) -> Interval:
    """Returns the percentile interval of bootstrap draws, with the value that they were drawn for."""
    tail = 50 * (1 - level)
    low, high = np.percentile(draws, [tail, 100 - tail])
    return Interval(mean=mean, low=float(low), high=float(high))


def p_value(differences: Float[np.ndarray, " resamples"]) -> float:
    """Returns the two-sided bootstrap p-value of a difference: twice the share of draws of the other sign.

    One draw of each sign is added, so that the value is never 0.
    """
    count = len(differences)
    below, above = (np.count_nonzero(differences <= 0), np.count_nonzero(differences >= 0))
    return float(min(1.0, 2 * (min(below, above) + 1) / (count + 1)))


def pool(values: Float[np.ndarray, " mixtures"], *, classes: Sequence[str], pooling: Pooling) -> float:
    """Returns the mean of all values, or the mean over classes of their means or medians.

    Examples:
      >>> pool(np.array([1.0, 2.0, 6.0]), classes=["a", "a", "b"], pooling="class_mean")
      3.75
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
    """Returns `pool` of resampled mixtures, each with its class and its recording (`sources`).

    Recordings are drawn with all their mixtures (the cluster bootstrap). Where classes are pooled, they are
    drawn within their class, so that every class keeps its weight. All rows of `values` get the same draws.
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
            if pooling == "class_median":
                pools[:, start : start + size] += _weighted_medians(own, weights)
            else:
                pools[:, start : start + size] += own @ weights.T / weights.sum(1)
    return pools / len(strata)


def _weighted_medians(
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class CrossedMean:
    """A mean over seeds and mixtures.

    Attributes:
      mean: of all values.
      low: lower end of the 95 % interval; NaN where the interval is unknown: with one seed and one
        recording, or where neither seeds nor recordings differ.
      high: its upper end.
      p_value: of the mean being zero, two-sided; NaN likewise.
      seed_error: standard error of the mean from the seeds; NaN with one seed, where the interval is about
        mixtures alone.
      mixture_error: standard error from the recordings; NaN with one recording.
    """

    mean: float
    low: float
    high: float
    p_value: float
    seed_error: float
    mixture_error: float


def crossed_mean(values: Float[np.ndarray, "seeds mixtures"], groups: Sequence[str]) -> CrossedMean:
    """Returns the mean of values that depend on two random factors: the seed and the recording.

    The values are those of one cell, or differences of two, paired by seed and mixture. Every seed is
    measured on the same mixtures, whose recordings are `groups`, so the two factors are crossed. The squared
    error of the mean is the sum of two parts: that of the means per seed, a = s² / S, and that of the K
    recordings' means, b (mixtures of one recording succeed or fail together). Both parts contain the
    interaction of seed and recording, so the sum is slightly too large rather than too small. The interval is
    the mean ± t √(a + b) with the t of Cochran and Cox (1950, "Experimental Designs"), (a t(S-1) + b t(K-1))
    / (a + b). It covers the truth in 95 % of the cases or more where one part has few degrees of freedom, as
    three seeds do. Others do not: on simulated data (`docs/sweeps.md`) Satterthwaite's degrees of freedom
    cover down to 89 % with two seeds, and a bootstrap of three seeds 76 %, because three seeds drawn with
    replacement vary by two thirds of the true variance.

    Raises:
      ValueError: no values, or not one group per mixture.
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 2 or not values.size or values.shape[1] != len(groups):
        raise ValueError(f"[seeds, mixtures] and {len(groups)} groups: got shape {values.shape}.")
    mean = float(values.mean())
    parts = [_seed_part(values), _mixture_part(values.mean(0), groups)]
    known = [(variance, degrees) for variance, degrees in parts if degrees > 0]
    low = high = p_value = float("nan")
    if sum(variance for variance, _ in known) ** 0.5 > _NO_ERROR:
        reach = _critical(1 - LEVEL, known) * sum(variance for variance, _ in known) ** 0.5
        low, high, p_value = mean - reach, mean + reach, _crossed_p_value(mean, known)
    errors = [variance**0.5 if degrees > 0 else float("nan") for variance, degrees in parts]
    return CrossedMean(
        mean=mean, low=low, high=high, p_value=p_value, seed_error=errors[0], mixture_error=errors[1]
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns p-values corrected for several comparisons (Holm 1979), valid under any dependence.

    The smallest is multiplied by their number, the next by one less, and so on; none falls below a smaller
    one, and none exceeds 1. NaN marks a missing comparison: it stays NaN and is not counted.

    Examples:
      >>> holm([0.01, 0.04, 0.03])
      [0.03, 0.06, 0.06]
    """
    compared = sorted((p, index) for index, p in enumerate(p_values) if not np.isnan(p))
    corrected, largest = list(map(float, p_values)), 0.0
    for rank, (p, index) in enumerate(compared):
        largest = max(largest, min(1.0, p * (len(compared) - rank)))
        corrected[index] = largest
    return corrected


def _critical(alpha: float, parts: Sequence[tuple[float, float]]) -> float:
    """Returns Student's t at `alpha`, two-sided: the mean of the parts' t, weighted by their variances."""
    from scipy import special

    total = sum(variance for variance, _ in parts)
    return sum(-variance * float(special.stdtrit(degrees, alpha / 2)) for variance, degrees in parts) / total


def _crossed_p_value(mean: float, parts: Sequence[tuple[float, float]]) -> float:
    """Returns the `alpha` whose interval ends at zero, at least 1e-15."""
    from scipy import optimize

    reach = abs(mean) / sum(variance for variance, _ in parts) ** 0.5
    if _critical(_SMALLEST_P, parts) <= reach:
        return _SMALLEST_P
    return float(optimize.brentq(lambda alpha: _critical(alpha, parts) - reach, _SMALLEST_P, 1.0, xtol=1e-16))  # pyright: ignore[reportArgumentType]


def _seed_part(values: np.ndarray) -> tuple[float, float]:
    seeds = len(values)
    if seeds < 2:
        return 0.0, 0.0
    return float(values.mean(1).var(ddof=1)) / seeds, seeds - 1.0


def _mixture_part(values: np.ndarray, groups: Sequence[str]) -> tuple[float, float]:
    """Squared error of a mean of clustered values, and its degrees of freedom."""
    names, member = np.unique(np.asarray(groups), return_inverse=True)
    clusters = len(names)
    if clusters < 2:
        return 0.0, 0.0
    sums = np.bincount(member, weights=values - values.mean(), minlength=clusters)
    variance = clusters / (clusters - 1) * float(sums @ sums) / len(values) ** 2
    return variance, clusters - 1.0
