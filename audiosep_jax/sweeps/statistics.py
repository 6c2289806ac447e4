"""Means over trainings and mixtures with intervals that hold for other seeds and other recordings as well."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

LEVEL = 0.95
_SMALLEST_P = 1e-15
# Metrics are computed in single precision: an error below this (dB) is rounding.
_NO_ERROR = 1e-9


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over seeds and mixtures.

    Attributes:
      mean: of all values.
      low: lower end of the 95 % interval; NaN where nothing says how sure the mean is, which is also so where
        neither seeds nor recordings differ.
      high: its upper end.
      p_value: of the mean being zero, two-sided; NaN likewise.
      seed_error: standard error of the mean from the seeds; NaN with one seed, whose interval is about
        mixtures alone.
      mixture_error: standard error from the recordings; NaN with one of them.
    """

    mean: float
    low: float
    high: float
    p_value: float
    seed_error: float
    mixture_error: float


def estimate(values: Float[np.ndarray, "seeds mixtures"], groups: Sequence[str]) -> Estimate:
    """Estimates a mean whose values depend on two random things: the seed, and the recording.

    Every seed is measured on the same mixtures, so the two are crossed. The squared error of the mean is the
    sum of two parts, that of the means per seed, a = s² / S, and that of the K recordings' means, b
    (mixtures of one recording succeed or fail together). Both contain what seed and recording do together,
    so that the sum is a little too large rather than too small. The interval is the mean ± t √(a + b) with
    the t of Cochran and Cox (1950, "Experimental Designs"), (a t(S-1) + b t(K-1)) / (a + b). It covers the
    truth in 95 % of the cases or more where one part has few degrees of freedom, as three seeds do. Others
    do not: of simulated data (`docs/sweeps.md`) Satterthwaite's degrees of freedom cover down to 89 % with
    two seeds, and a bootstrap of three seeds 76 %, because three drawn with replacement vary by two
    thirds of the variance that they stand for.

    Args:
      values: `[seeds, mixtures]`: of one cell, or differences of two, paired by seed and mixture.
      groups: the recording that a mixture's target was cut from, one per mixture.

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
        low, high, p_value = mean - reach, mean + reach, _p_value(mean, known)
    errors = [variance**0.5 if degrees > 0 else float("nan") for variance, degrees in parts]
    return Estimate(
        mean=mean, low=low, high=high, p_value=p_value, seed_error=errors[0], mixture_error=errors[1]
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns p-values corrected for being several (Holm 1979): valid however they depend on each other.

    The smallest is multiplied by their number, the next by one less, and so on; none falls below one that
    was smaller, and none exceeds 1. NaN is no comparison: it stays, and does not count.

    Example:
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
    """Returns Student's t at `alpha`, two-sided: the parts' own ones, weighted by their variances."""
    from scipy import special

    total = sum(variance for variance, _ in parts)
    return sum(-variance * float(special.stdtrit(degrees, alpha / 2)) for variance, degrees in parts) / total


def _p_value(mean: float, parts: Sequence[tuple[float, float]]) -> float:
    """Returns the `alpha` whose interval ends at zero; those below 1e-15 are 1e-15."""
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
