"""The composite measures CSIG, CBAK and COVL of speech enhancement, and their component measures.

They predict the ratings of listeners on a scale from 1 to 5 (ITU-T P.835): distortion of the speech,
intrusiveness of the background, overall quality. Y. Hu and P. Loizou, "Evaluation of objective quality
measures for speech enhancement", IEEE Trans. Audio, Speech and Language Processing 16(1), 2008.

The convention is that of `composite.m`, which comes with P. Loizou, "Speech Enhancement: Theory and
Practice", and with which the literature on VoiceBank-DEMAND reports: frames of 30 ms every 7.5 ms under a
Hann window, machine epsilon added to both signals, means of WSS and LLR over the 95 % of the frames with the
smallest distance, LLR without an upper bound. At 16 kHz PESQ is the wide-band one, mapped to MOS-LQO (ITU-T
P.862.2). As in `composite.m`, the signals are neither shifted nor scaled: the port in
facebookresearch/denoiser and SpeechBrain removes their means and scales the estimate to the target's peak
before the segmental SNR.
"""

import dataclasses

import numpy as np
from jaxtyping import Float

FRAME_SECONDS = 0.03
HOPS_PER_FRAME = 4
KEPT_SHARE = 0.95
SEGMENTAL_SNR_RANGE_DB = (-10.0, 35.0)
_EPS = float(np.finfo(np.float64).eps)

# Klatt's critical bands as chosen by Pellom and Hansen: centres and widths in Hz. They end at 4 kHz whatever
# the sample rate.
# fmt: off
_CENTRES_HZ = np.array([
    50, 120, 190, 260, 330, 400, 470, 540, 617.372, 703.378, 798.717, 904.128, 1020.38, 1148.30, 1288.72,
    1442.54, 1610.70, 1794.16, 1993.93, 2211.08, 2446.71, 2701.97, 2978.04, 3276.17, 3597.63,
])
_WIDTHS_HZ = np.array([
    70, 70, 70, 70, 70, 70, 70, 77.3724, 86.0056, 95.3398, 105.411, 116.256, 127.914, 140.423, 153.823,
    168.154, 183.457, 199.776, 217.153, 235.631, 255.255, 276.072, 298.126, 321.465, 346.136,
])
# fmt: on
_LOWEST_ENERGY = 1e-10
_GLOBAL_PEAK, _LOCAL_PEAK = 20.0, 1.0  # Klatt 1982, p. 1280


@dataclasses.dataclass(frozen=True, kw_only=True)
class Composite:
    """Predicted ratings, each clamped to 1…5: of the speech, of the background, and overall."""

    csig: float
    cbak: float
    covl: float


def composite(*, pesq: float, llr: float, wss: float, segsnr_db: float) -> Composite:
    """The composite measures from their four parts (Hu & Loizou 2008; coefficients of `composite.m`).

    `CSIG = 3.093 - 1.029 LLR + 0.603 PESQ - 0.009 WSS`,
    `CBAK = 1.634 + 0.478 PESQ - 0.007 WSS + 0.063 segSNR`,
    `COVL = 1.594 + 0.805 PESQ - 0.512 LLR - 0.007 WSS`.
    """
    return Composite(
        csig=_rating(3.093 - 1.029 * llr + 0.603 * pesq - 0.009 * wss),
        cbak=_rating(1.634 + 0.478 * pesq - 0.007 * wss + 0.063 * segsnr_db),
        covl=_rating(1.594 + 0.805 * pesq - 0.512 * llr - 0.007 * wss),
    )


def trimmed_mean(distances: Float[np.ndarray, " frames"]) -> float:
    """Mean of the 95 % of the frames with the smallest distance, their number rounded half up."""
    kept = int(np.floor(KEPT_SHARE * len(distances) + 0.5))
    return float(np.sort(distances)[:kept].mean())


def log_likelihood_ratio(
    target: Float[np.ndarray, " samples"], estimate: Float[np.ndarray, " samples"], *, sample_rate_hz: int
) -> Float[np.ndarray, " frames"]:
    """LLR per frame, `ln(a_e R a_eᵀ / a_t R a_tᵀ)`: how much worse the estimate's predictor fits the target.

    `a_t`, `a_e` are the linear predictors of target and estimate (autocorrelation method, order 16; 10 below
    10 kHz), `R` the Toeplitz autocorrelation of the target's frame. Quackenbush, Barnwell & Clements,
    "Objective Measures of Speech Quality", 1988, section 2.2. A frame whose ratio is not finite, such as
    digital silence, counts as 0.
    """
    order = 10 if sample_rate_hz < 10_000 else 16
    frames = [_frames(one, sample_rate_hz) for one in (target, estimate)]
    lags, others = (_autocorrelation(one, order) for one in frames)
    places = np.arange(order + 1)
    matrices = lags[:, np.abs(places[:, None] - places)]
    ours, theirs = _predictors(lags), _predictors(others)
    with np.errstate(all="ignore"):
        above = np.einsum("fi,fij,fj->f", theirs, matrices, theirs)
        below = np.einsum("fi,fij,fj->f", ours, matrices, ours)
        ratio = np.log(above / below)
    return np.where(np.isfinite(ratio), ratio, 0.0)


def weighted_spectral_slope(
    target: Float[np.ndarray, " samples"], estimate: Float[np.ndarray, " samples"], *, sample_rate_hz: int
) -> Float[np.ndarray, " frames"]:
    """WSS per frame: weighted mean of the squared differences of slopes between 25 critical bands, in dB².

    The weights stress bands near the frame's highest and near the next local peak. D. Klatt, "Prediction of
    perceived phonetic distance from critical-band spectra", ICASSP 1982; divided by the sum of the weights as
    Pellom and Hansen do. As in their code, the search ends one band before a peak on its right.
    """
    slopes, weights = [], []
    for waveform in (target, estimate):
        energy = _band_energies_db(waveform, sample_rate_hz)
        slope, band = np.diff(energy, axis=1), energy[:, :-1]
        highest = energy.max(axis=1, keepdims=True)
        weights.append(
            _GLOBAL_PEAK
            / (_GLOBAL_PEAK + highest - band)
            * _LOCAL_PEAK
            / (_LOCAL_PEAK + _near_peaks(energy, slope) - band)
        )
        slopes.append(slope)
    weight = (weights[0] + weights[1]) / 2
    return (weight * (slopes[0] - slopes[1]) ** 2).sum(1) / weight.sum(1)


def segmental_snr_db(
    target: Float[np.ndarray, " samples"], estimate: Float[np.ndarray, " samples"], *, sample_rate_hz: int
) -> Float[np.ndarray, " frames"]:
    """`10 log10(Σ target² / Σ (target - estimate)²)` per frame, clamped to -10…35 dB.

    Quackenbush, Barnwell & Clements 1988, equation 2.12; the bounds are Papamichalis', "Practical Approaches
    to Speech Coding", 1987, as in `composite.m`.
    """
    signal = _frames(target, sample_rate_hz)
    noise = signal - _frames(estimate, sample_rate_hz)
    ratio = (signal**2).sum(1) / ((noise**2).sum(1) + _EPS)
    return np.clip(10 * np.log10(ratio + _EPS), *SEGMENTAL_SNR_RANGE_DB)


def _rating(value: float) -> float:
    return float(np.clip(value, 1.0, 5.0))


def frame_count(samples: int, *, sample_rate_hz: int) -> int:
    """Frames of a signal: `floor((samples - frame) / hop)`; `composite.m` drops the last full frame, too."""
    frame, hop = _frame_and_hop(sample_rate_hz)
    return max(0, (samples - frame) // hop)


def _frame_and_hop(sample_rate_hz: int) -> tuple[int, int]:
    frame = int(np.floor(FRAME_SECONDS * sample_rate_hz + 0.5))
    return frame, frame // HOPS_PER_FRAME


def _frames(waveform: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Windowed frames `[frames, samples]` in float64."""
    frame, hop = _frame_and_hop(sample_rate_hz)
    count = frame_count(len(waveform), sample_rate_hz=sample_rate_hz)
    window = 0.5 * (1 - np.cos(2 * np.pi * np.arange(1, frame + 1) / (frame + 1)))
    views = np.lib.stride_tricks.sliding_window_view(waveform.astype(np.float64) + _EPS, frame)
    return views[: count * hop : hop] * window


def _autocorrelation(frames: np.ndarray, order: int) -> np.ndarray:
    """Lags 0…order of every frame, `[frames, order + 1]`."""
    samples = frames.shape[1]
    return np.stack(
        [(frames[:, : samples - lag] * frames[:, lag:]).sum(1) for lag in range(order + 1)], axis=1
    )


def _predictors(lags: np.ndarray) -> np.ndarray:
    """Levinson and Durbin's recursion: `[frames, order + 1]` error filters that begin with 1."""
    filters = np.zeros_like(lags)
    filters[:, 0] = 1
    error = lags[:, 0].copy()
    with np.errstate(all="ignore"):
        for place in range(1, lags.shape[1]):
            reflection = -(filters[:, :place] * lags[:, place:0:-1]).sum(1) / error
            filters[:, 1 : place + 1] += reflection[:, None] * filters[:, place - 1 :: -1][:, :place]
            error *= 1 - reflection**2
    return filters


def _band_energies_db(waveform: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """`[frames, 25]`, in dB, floored at -100 dB."""
    frames = _frames(waveform, sample_rate_hz)
    size = 2 ** int(np.ceil(np.log2(2 * frames.shape[1])))
    power = np.abs(np.fft.rfft(frames, size)[:, : size // 2]) ** 2
    return 10 * np.log10(np.maximum(power @ _band_filters(size // 2, sample_rate_hz).T, _LOWEST_ENERGY))


def _band_filters(bins: int, sample_rate_hz: int) -> np.ndarray:
    """Gaussian filters of equal area, `[25, bins]`, zero below -30 dB."""
    bins_per_hz = bins / (sample_rate_hz / 2)
    centres = np.floor(_CENTRES_HZ * bins_per_hz)[:, None]
    widths = (_WIDTHS_HZ * bins_per_hz)[:, None]
    gain = np.log(_WIDTHS_HZ[0] / _WIDTHS_HZ)[:, None]
    filters = np.exp(-11 * ((np.arange(bins) - centres) / widths) ** 2 + gain)
    return np.where(filters > np.exp(-30 / (2 * 2.303)), filters, 0.0)


def _near_peaks(energy: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """The energy at the nearest peak uphill of each band, `[frames, 24]`."""
    bands = slope.shape[1]
    right = np.full(slope.shape, bands)
    left = np.full(slope.shape, -1)
    for band in range(bands - 1, -1, -1):
        beyond = right[:, band + 1] if band + 1 < bands else bands
        right[:, band] = np.where(slope[:, band] > 0, beyond, band)
    for band in range(bands):
        beyond = left[:, band - 1] if band else -1
        left[:, band] = np.where(slope[:, band] > 0, band, beyond)
    return np.take_along_axis(energy, np.where(slope > 0, right - 1, left + 1), axis=1)
