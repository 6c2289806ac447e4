"""Runs a separator on rendered mixtures and measures every estimate."""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import numpy as np
from jaxtyping import Bool, Float

from audiosep_jax.errors import EvaluationError
from audiosep_jax.evals import metrics

METRICS = ("sdr_db", "sdri_db", "si_sdr_db", "si_sdri_db")

Apply = Callable[[np.ndarray, np.ndarray], np.ndarray | jax.Array]
Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measurements:
    """One value per example and metric, in dB, each `[examples]`; "i" is the gain over the mixture.

    Where `absent` is true, the query names no sound of the mixture. For these examples only
    `energy_ratio_db`, estimate over mixture, is meaningful, for all others only the four other metrics.
    """

    absent: Bool[np.ndarray, " examples"]
    sdr_db: Float[np.ndarray, " examples"]
    sdri_db: Float[np.ndarray, " examples"]
    si_sdr_db: Float[np.ndarray, " examples"]
    si_sdri_db: Float[np.ndarray, " examples"]
    energy_ratio_db: Float[np.ndarray, " examples"]

    def means(self) -> dict[str, float]:
        """Returns scalars for a log: means over the examples for which each metric is meaningful.

        `absent_attenuation_db` is how far estimates of absent sounds lie below their mixtures. Metrics
        without an example are left out.
        """
        present, scalars = ~self.absent, {}
        if present.any():
            scalars = {name: float(getattr(self, name)[present].mean()) for name in METRICS}
        if self.absent.any():
            scalars["absent_attenuation_db"] = float(-self.energy_ratio_db[self.absent].mean())
        return scalars


def measure_arrays(
    apply: Apply,
    *,
    mixture: Float[np.ndarray, "examples samples"],
    target: Float[np.ndarray, "examples samples"],
    condition: Float[np.ndarray, "examples size"],
    absent: Bool[np.ndarray, " examples"] | None = None,
    batch_size: int = 8,
) -> Measurements:
    """Separates mixtures batch by batch and measures the estimates in float64 on the host.

    `apply` maps `mixture [batch, samples]` and `condition [batch, size]` to `estimate [batch, samples]`. The
    last batch is filled up with silence, so that `apply` is compiled for one shape; the filling is not
    measured. `absent` is true where the query names no sound of the mixture; None for no such query.

    Raises:
      ValueError: the arrays do not agree in shape, or there is no example.
      EvaluationError: an estimate holds a NaN or an infinity.
    """
    if absent is None:
        absent = np.zeros(len(mixture), bool)
    if mixture.shape != target.shape or not len(mixture) == len(condition) == len(absent) > 0:
        raise ValueError(
            f"mixture {mixture.shape}, target {target.shape}, condition {condition.shape} and absent "
            f"{absent.shape} must agree, and hold at least one example."
        )
    parts = []
    for start in range(0, len(mixture), batch_size):
        rows = slice(start, start + batch_size)
        parts.append(
            measure_batch(
                apply,
                mixture=mixture[rows],
                target=target[rows],
                condition=condition[rows],
                absent=absent[rows],
                batch_size=batch_size,
                first=start,
            )
        )
    return merge(parts)


def measure_batch(
    apply: Apply,
    *,
    mixture: Float[np.ndarray, "rows samples"],
    target: Float[np.ndarray, "rows samples"],
    condition: Float[np.ndarray, "rows size"],
    absent: Bool[np.ndarray, " rows"],
    batch_size: int,
    first: int = 0,
) -> Measurements:
    """Separates and measures at most `batch_size` rows, as `measure_arrays` does.

    Errors name the first row as mixture `first`.
    """
    given = filled(mixture, batch_size)
    estimate = np.asarray(apply(given, filled(condition, batch_size)))
    if estimate.shape != given.shape:
        raise ValueError(f"the separator returned {estimate.shape} for mixtures of {given.shape}.")
    estimate = estimate[: len(mixture)]
    finite = np.isfinite(estimate).all(-1)
    if not finite.all():
        raise EvaluationError(
            f"the estimate of mixture {first + int(finite.argmin())} is not finite: the model's parameters "
            "are damaged or its training diverged; take an earlier checkpoint."
        )
    return Measurements(
        absent=absent,
        energy_ratio_db=np.asarray(metrics.energy_ratio_db(estimate, mixture)),
        **metrics.separation_metrics(target, estimate, mixture),
    )


def merge(parts: Sequence[Measurements]) -> Measurements:
    """Joins measurements in order, so that means are taken over examples, not over batches."""
    fields = [field.name for field in dataclasses.fields(Measurements)]
    return Measurements(**{name: np.concatenate([getattr(one, name) for one in parts]) for name in fields})


def filled(rows: Float[np.ndarray, "rows ..."], batch_size: int) -> Float[np.ndarray, "batch ..."]:
    """Appends rows of zeros up to the batch size, so that a model is compiled for one shape.

    Examples:
      >>> filled(np.ones((1, 2)), 2)
      array([[1., 1.],
             [0., 0.]])
    """
    missing = batch_size - len(rows)
    if not missing:
        return rows
    return np.concatenate([rows, np.zeros((missing, *rows.shape[1:]), rows.dtype)])
