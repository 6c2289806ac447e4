"""Other papers' SDR: the BSSEval measures, and SI-SDR with the mean removed.

The project's own SDR is in `metrics`; docs/metrics.md lists which paper uses which. All values are measured
in float64 by the package fast_bss_eval (R. Scheibler, "SDR — Medium rare with fast computations", ICASSP
2022).
"""

import dataclasses

import numpy as np
from jaxtyping import Float

from audiosep_jax.errors import EvaluationError
from audiosep_jax.evals.optional_packages import metric_package

FILTER_TAPS = 512

# Beyond this, float64 cannot tell an estimate from the target.
LIMIT_DB = 100.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class BssValues:
    """The measures of BSSEval for one estimate, in dB within ±100.

    Attributes:
      sdr_db: filtered target over everything else.
      sir_db: filtered target over the part of the estimate that filtered interference explains.
      sar_db: the part that target and interference explain over the rest, the artefacts.
    """

    sdr_db: float
    sir_db: float
    sar_db: float


def bss_eval(
    target: Float[np.ndarray, " samples"],
    interference: Float[np.ndarray, " samples"],
    estimate: Float[np.ndarray, " samples"],
    *,
    filter_taps: int = FILTER_TAPS,
) -> BssValues:
    """SDR, SIR and SAR of BSSEval version 3, `bss_eval_sources` of its MATLAB toolbox and of mir_eval.

    The estimate is projected on the target under every filter of 512 taps, and on target and interference
    (the mixture without the target) under two such filters, so that a distortion by a short filter does not
    count as an error. The whole signal is one segment; version 4 (museval) uses the same filters and reports
    the median over windows of a second, which is another number.

    E. Vincent, R. Gribonval and C. Févotte, "Performance measurement in blind audio source separation",
    IEEE Trans. Audio, Speech and Language Processing 14(4), 2006.

    Raises:
      ValueError: the shapes differ.
      MissingPackageError: fast_bss_eval is not installed.
      EvaluationError: a waveform is silent, for which the measures are not defined.
    """
    waveforms = _checked(target=target, interference=interference, estimate=estimate)
    target, interference, estimate = waveforms
    # The package needs as many estimates as sources: the second row measures the same estimate again, as one
    # of the interference.
    values = metric_package("fast_bss_eval").bss_eval_sources(
        np.stack([target, interference]),
        np.stack([estimate, estimate]),
        filter_length=filter_taps,
        clamp_db=LIMIT_DB,
    )
    sdr_db, sir_db, sar_db = (float(value[0]) for value in values[:3])
    return BssValues(sdr_db=sdr_db, sir_db=sir_db, sar_db=sar_db)


def filtered_sdr_db(
    target: Float[np.ndarray, " samples"],
    estimate: Float[np.ndarray, " samples"],
    *,
    filter_taps: int = FILTER_TAPS,
) -> float:
    """The SDR of `bss_eval` alone, which needs no interference; arguments and errors as there."""
    target, estimate = _checked(target=target, estimate=estimate)
    value = metric_package("fast_bss_eval").sdr(
        target[None], estimate[None], filter_length=filter_taps, clamp_db=LIMIT_DB
    )
    return float(value[0])


def si_sdr_zero_mean_db(
    target: Float[np.ndarray, " samples"], estimate: Float[np.ndarray, " samples"]
) -> float:
    """SI-SDR after the mean of both waveforms is removed, in dB within ±100; errors as in `bss_eval`.

    This is the SI-SDR of torchmetrics with `zero_mean=True`, of asteroid and of most speech papers.
    `metrics.si_sdr_db`, like the AudioSep reference, keeps the mean.

    J. Le Roux, S. Wisdom, H. Erdogan and J. Hershey, "SDR — half-baked or well done?", ICASSP 2019.
    """
    target, estimate = _checked(target=target, estimate=estimate)
    # A filter of one tap is the scale. The package's own si_sdr fails where PyTorch is not installed.
    value = metric_package("fast_bss_eval").sdr(
        target[None], estimate[None], filter_length=1, zero_mean=True, clamp_db=LIMIT_DB
    )
    return float(value[0])


def _checked(**waveforms: np.ndarray) -> tuple[np.ndarray, ...]:
    shapes = {name: waveform.shape for name, waveform in waveforms.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"waveforms must have one shape: got {shapes}.")
    for name, waveform in waveforms.items():
        if not waveform.any():
            raise EvaluationError(
                f"the {name} is silent, and BSSEval and SI-SDR without its mean are not defined for silence: "
                "leave this mixture out."
            )
    return tuple(waveform.astype(np.float64) for waveform in waveforms.values())
