"""Means over trainings and mixtures with intervals that hold for other seeds and other recordings as well."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

LEVEL = 0.95


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over seeds and mixtures.

    Attributes:
      mean: of all values.
      low: lower end of the 95 % interval; NaN where nothing says how sure the mean is.
      high: its upper end.
      p_value: of the mean being zero, two-sided; NaN likewise.
      seed_error: standard error of the mean from the seeds; NaN with one seed, whose interval is about
        mixtures alone.
      mixture_error: standard error from the mixtures; NaN with one recording.
      degrees: of freedom of Student's t.
    """

    mean: float
    low: float
    high: float
    p_value: float
    seed_error: float
    mixture_error: float
    degrees: float


def estimate(values: Float[np.ndarray, "seeds mixtures"], groups: Sequence[str]) -> Estimate:
    r"""Estimates a mean whose values depend on two random things: the seed, and the recording.

    Every seed is measured on the same mixtures, so the two are crossed. The squared error of the mean is the
    sum of two parts, that of the means per seed, s² / S, and that of the recordings' means (clustered by
    recording, because mixtures of one succeed or fail together). Both parts contain what seed and recording
    do together, so that the sum is a little too large rather than too small. Its degrees of freedom follow
    Satterthwaite (1946): (a + b)² / (a² / (S - 1) + b² / (K - 1)). For p-values this is the min F' of Clark
    (1973, "The language-as-fixed-effect fallacy").

    A bootstrap that draws whole seeds would look alike and be wrong: three seeds drawn with replacement vary
    by two thirds of the variance they stand for, and know nothing of Student's t with two degrees.

    Args:
      values: `[seeds, mixtures]`: of one cell, or differences of two, paired by seed and mixture.
      groups: the recording that a mixture's target was cut from, one per mixture.

    Raises:
      ValueError: no values, or not one group per mixture.
    """
    from scipy import special

    values = np.asarray(values, np.float64)
    if values.ndim != 2 or not values.size or values.shape[1] != len(groups):
        raise ValueError(f"[seeds, mixtures] and {len(groups)} groups: got shape {values.shape}.")
    mean = float(values.mean())
    parts = [_seed_part(values), _mixture_part(values.mean(0), groups)]
    known = [(variance, degrees) for variance, degrees in parts if degrees > 0]
    variance = sum(part for part, _ in known)
    if not known:
        low = high = p_value = degrees = float("nan")
    elif variance == 0:
        low, high, p_value, degrees = mean, mean, 1.0 if mean == 0 else 0.0, float("nan")
    else:
        degrees = variance**2 / sum(part**2 / freedom for part, freedom in known)
        reach = float(special.stdtrit(degrees, 0.5 + LEVEL / 2)) * variance**0.5
        low, high = mean - reach, mean + reach
        p_value = 2 * float(special.stdtr(degrees, -abs(mean) / variance**0.5))
    errors = [part**0.5 if freedom > 0 else float("nan") for part, freedom in parts]
    return Estimate(
        mean=mean,
        low=low,
        high=high,
        p_value=p_value,
        seed_error=errors[0],
        mixture_error=errors[1],
        degrees=degrees,
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
