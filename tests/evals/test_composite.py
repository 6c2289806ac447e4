"""The parts of the composite measures against slow computations by their definitions."""

import numpy as np
import pytest
from speech_sounds import RATE, noise, noisy, speech

from audiosep_jax.evals import composite

EPS = 2.0**-52
SPEECH = speech(seconds=0.5)
ESTIMATES = {
    "noisy": noisy(SPEECH, 5),
    "quiet": 0.3 * SPEECH,
    "filtered": np.convolve(SPEECH, [1, -0.9])[: len(SPEECH)],
}


def frames_of(waveform, rate):
    """Windowed frames by their definition, one at a time."""
    size = round(0.03 * rate)
    hop = size // 4
    window = [0.5 * (1 - np.cos(2 * np.pi * n / (size + 1))) for n in range(1, size + 1)]
    for number in range((len(waveform) - size) // hop):
        yield (waveform[number * hop : number * hop + size] + EPS) * window


def slow_llr(target, estimate, rate, order):
    values = []
    for one, other in zip(frames_of(target, rate), frames_of(estimate, rate), strict=True):
        lags = [[np.dot(x[: len(x) - k], x[k:]) for k in range(order + 1)] for x in (one, other)]
        matrices = [
            np.array([[r[abs(i - j)] for j in range(order + 1)] for i in range(order + 1)]) for r in lags
        ]
        # The normal equations, solved as they stand.
        filters = [np.r_[1.0, -np.linalg.solve(m[:order, :order], m[0, 1:])] for m in matrices]
        ratio = (filters[1] @ matrices[0] @ filters[1]) / (filters[0] @ matrices[0] @ filters[0])
        values.append(np.log(ratio))
    return np.array(values)


def slow_energies(frame, rate):
    size = 2 ** int(np.ceil(np.log2(2 * len(frame))))
    power = np.abs(np.fft.fft(frame, size)[: size // 2]) ** 2
    energies = []
    for centre, width in zip(composite._CENTRES_HZ, composite._WIDTHS_HZ, strict=True):
        bins = np.arange(size // 2) - int(centre * size / rate)
        gains = 70 / width * np.exp(-11 * (bins / (width * size / rate)) ** 2)
        total = sum(power[gains > np.exp(-30 / 4.606)] * gains[gains > np.exp(-30 / 4.606)])
        energies.append(10 * np.log10(max(total, 1e-10)))
    return energies


def slow_wss(target, estimate, rate):
    values = []
    for pair in zip(frames_of(target, rate), frames_of(estimate, rate), strict=True):
        slopes, weights = [], []
        for frame in pair:
            energy = slow_energies(frame, rate)
            slope = [energy[i + 1] - energy[i] for i in range(24)]
            weight = []
            for i in range(24):
                place = i
                if slope[i] > 0:
                    while place < 24 and slope[place] > 0:
                        place += 1
                    peak = energy[place - 1]
                else:
                    while place >= 0 and slope[place] <= 0:
                        place -= 1
                    peak = energy[place + 1]
                weight.append(20 / (20 + max(energy) - energy[i]) / (1 + peak - energy[i]))
            slopes.append(slope)
            weights.append(weight)
        mean = [(a + b) / 2 for a, b in zip(*weights, strict=True)]
        squares = [(a - b) ** 2 for a, b in zip(*slopes, strict=True)]
        values.append(np.dot(mean, squares) / sum(mean))
    return np.array(values)


@pytest.mark.parametrize("name", list(ESTIMATES))
def test_llr_is_that_of_the_normal_equations(name):
    got = composite.log_likelihood_ratio(SPEECH, ESTIMATES[name], sample_rate_hz=RATE)
    want = slow_llr(SPEECH, ESTIMATES[name], RATE, 16)
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-8)
    assert (got > -1e-9).all()


def test_llr_below_10_khz_has_order_10():
    target, estimate = SPEECH[::2], ESTIMATES["noisy"][::2]
    got = composite.log_likelihood_ratio(target, estimate, sample_rate_hz=8000)
    np.testing.assert_allclose(got, slow_llr(target, estimate, 8000, 10), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", list(ESTIMATES))
def test_wss_is_that_of_its_loops(name):
    short = slice(0, 3000)
    got = composite.weighted_spectral_slope(SPEECH[short], ESTIMATES[name][short], sample_rate_hz=RATE)
    np.testing.assert_allclose(
        got, slow_wss(SPEECH[short], ESTIMATES[name][short], RATE), rtol=1e-9, atol=1e-9
    )


def test_segmental_snr_is_clamped_frame_by_frame():
    estimate = np.r_[SPEECH[:3000], SPEECH[3000:6000] + 0.01 * noise(3000), noise(2000)]
    want = []
    for one, other in zip(frames_of(SPEECH, RATE), frames_of(estimate, RATE), strict=True):
        ratio = np.sum(one**2) / (np.sum((one - other) ** 2) + EPS)
        want.append(min(max(10 * np.log10(ratio + EPS), -10), 35))
    got = composite.segmental_snr_db(SPEECH, estimate, sample_rate_hz=RATE)
    np.testing.assert_allclose(got, want, rtol=1e-9)
    assert got.min() == -10
    assert got.max() == 35
    assert len(got) == composite.frame_count(len(SPEECH), sample_rate_hz=RATE) == (8000 - 480) // 120


def test_the_five_percent_of_the_worst_frames_are_left_out():
    distances = np.r_[np.full(95, 1.0), np.full(5, 100.0)]
    assert composite.trimmed_mean(distances) == 1.0
    # 30 frames: 28.5 are kept, rounded up as MATLAB does.
    assert composite.trimmed_mean(np.r_[np.zeros(28), 29.0, 1000.0]) == 1.0


def test_the_ratings_by_hand_and_clamped():
    one = composite.composite(pesq=2.0, llr=0.5, wss=40.0, segsnr_db=5.0)
    assert one.csig == pytest.approx(3.093 - 0.5145 + 1.206 - 0.36)
    assert one.cbak == pytest.approx(1.634 + 0.956 - 0.28 + 0.315)
    assert one.covl == pytest.approx(1.594 + 1.61 - 0.256 - 0.28)
    best = composite.composite(pesq=4.64, llr=0.0, wss=0.0, segsnr_db=35.0)
    assert (best.csig, best.cbak, best.covl) == (5.0, 5.0, 5.0)
    worst = composite.composite(pesq=1.0, llr=5.0, wss=200.0, segsnr_db=-10.0)
    assert (worst.csig, worst.cbak, worst.covl) == (1.0, 1.0, 1.0)


def test_digital_silence_gives_numbers():
    silence = np.zeros(4000)
    for target, estimate in ((SPEECH[:4000], silence), (silence, SPEECH[:4000]), (silence, silence)):
        for measure in (
            composite.log_likelihood_ratio,
            composite.weighted_spectral_slope,
            composite.segmental_snr_db,
        ):
            assert np.isfinite(measure(target, estimate, sample_rate_hz=RATE)).all()
