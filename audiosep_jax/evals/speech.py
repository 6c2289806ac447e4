"""Speech metrics of VoiceBank-DEMAND: PESQ, composite measures, segmental SNR and STOI."""

import threading
import warnings

import numpy as np
from jaxtyping import Float

from audiosep_jax.audio.resample import resample
from audiosep_jax.errors import AudioSepError, EvaluationError
from audiosep_jax.evals import composite
from audiosep_jax.evals.optional_packages import metric_package

RATE_HZ = 16_000

# P.862.2 of the lowest raw PESQ, -0.5: 0.999 + 4 / (1 + exp(1.3669 · 0.5 + 3.8224)).
LOWEST_PESQ = 1.0427

_WARNINGS = threading.Lock()


def speech_metrics(
    target: Float[np.ndarray, " samples"], estimate: Float[np.ndarray, " samples"], *, sample_rate_hz: int
) -> dict[str, float]:
    """Measures enhanced speech against clean speech at 16 kHz, as the literature on VoiceBank-DEMAND does.

    - `pesq`: wide-band PESQ as MOS-LQO (ITU-T P.862.2), 1.04…4.64, by the package pesq; the lowest value for
      an estimate that is digital silence.
    - `csig`, `cbak`, `covl`: composite measures, 1…5; `segsnr_db`: segmental SNR. See `composite`.
    - `stoi`: short-time objective intelligibility (Taal et al. 2011), up to 1, by the package pystoi.

    Waveforms of other rates are resampled to 16 kHz.

    Raises:
      ValueError: the shapes differ.
      MissingPackageError: pesq or pystoi is not installed.
      EvaluationError: the target holds too little speech to measure.
    """
    if target.shape != estimate.shape or target.ndim != 1:
        raise ValueError(f"two waveforms of one length are needed: got {target.shape} and {estimate.shape}.")
    pesq, stoi = metric_package("pesq"), metric_package("pystoi")
    if sample_rate_hz != RATE_HZ:
        target, estimate = (
            resample(one, from_hz=sample_rate_hz, to_hz=RATE_HZ) for one in (target, estimate)
        )
    target, estimate = target.astype(np.float64), estimate.astype(np.float64)
    if not target.any():
        raise _too_little(target)
    quality = LOWEST_PESQ
    if estimate.any():
        try:
            quality = float(pesq.pesq(RATE_HZ, target, estimate, "wb"))
        except (pesq.NoUtterancesError, pesq.BufferTooShortError) as error:
            raise _too_little(target) from error
    # Warning filters belong to the whole process, and several threads measure at a time.
    with _WARNINGS, warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        try:
            intelligibility = float(stoi.stoi(target, estimate, RATE_HZ))
        except RuntimeWarning as error:
            raise _too_little(target) from error
    llr = composite.trimmed_mean(composite.log_likelihood_ratio(target, estimate, sample_rate_hz=RATE_HZ))
    wss = composite.trimmed_mean(composite.weighted_spectral_slope(target, estimate, sample_rate_hz=RATE_HZ))
    segsnr_db = float(composite.segmental_snr_db(target, estimate, sample_rate_hz=RATE_HZ).mean())
    ratings = composite.composite(pesq=quality, llr=llr, wss=wss, segsnr_db=segsnr_db)
    return {
        "pesq": quality,
        "csig": ratings.csig,
        "cbak": ratings.cbak,
        "covl": ratings.covl,
        "segsnr_db": segsnr_db,
        "stoi": intelligibility,
    }


def _too_little(target: np.ndarray) -> AudioSepError:
    return EvaluationError(
        f"a target of {len(target) / RATE_HZ:.2f} s holds too little speech for PESQ and STOI, which need "
        "about half a second of speech: leave it out or give a longer one."
    )
