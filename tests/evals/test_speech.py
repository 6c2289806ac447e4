"""Speech metrics: known values, and errors for speech that cannot be measured."""

import sys
import warnings
from concurrent import futures

import numpy as np
import pytest
from speech_sounds import RATE, noisy, speech

from audiosep_jax.audio.resample import resample
from audiosep_jax.errors import AudioSepError
from audiosep_jax.evals.speech import LOWEST_PESQ, speech_metrics

KEYS = ["pesq", "csig", "cbak", "covl", "segsnr_db", "stoi"]


@pytest.mark.extras
def test_a_perfect_estimate_reaches_the_limits():
    clean = speech()
    measured = speech_metrics(clean, clean.copy(), sample_rate_hz=RATE)
    assert list(measured) == KEYS
    assert measured["pesq"] == pytest.approx(4.644, abs=1e-3)
    assert [measured[key] for key in ("csig", "cbak", "covl")] == [5.0, 5.0, 5.0]
    assert measured["segsnr_db"] == 35.0
    assert measured["stoi"] == pytest.approx(1.0, abs=1e-6)


@pytest.mark.extras
def test_less_noise_is_better_by_every_measure():
    clean = speech()
    rows = [speech_metrics(clean, noisy(clean, snr), sample_rate_hz=RATE) for snr in (0, 15, 30, 45)]
    for key in KEYS:
        values = [row[key] for row in rows]
        assert values == sorted(values), (key, values)
        assert values[-1] > values[0], key
    assert rows[0]["stoi"] < 0.9


@pytest.mark.extras
def test_another_rate_is_resampled():
    # Without the band near the Nyquist frequency, which resampling removes.
    waveforms = [np.fft.rfft(one) for one in (speech(), noisy(speech(), 15))]
    clean, estimate = (np.fft.irfft(np.r_[one[:12_000], np.zeros(len(one) - 12_000)]) for one in waveforms)
    there = speech_metrics(clean, estimate, sample_rate_hz=RATE)
    waveforms = [resample(one, from_hz=RATE, to_hz=32_000) for one in (clean, estimate)]
    back = speech_metrics(*waveforms, sample_rate_hz=32_000)
    assert back["pesq"] == pytest.approx(there["pesq"], abs=0.05)
    assert back["stoi"] == pytest.approx(there["stoi"], abs=0.01)


@pytest.mark.extras
def test_too_little_speech_for_stoi_is_an_error_in_every_thread():
    """Long enough for PESQ; pystoi only warns, and filters of warnings belong to the whole process."""
    clean = speech()[3000:11_000]
    filters = list(warnings.filters)

    def measured(number):
        try:
            return speech_metrics(clean, noisy(clean, number), sample_rate_hz=RATE)["stoi"]
        except AudioSepError as error:
            return str(error)

    with futures.ThreadPoolExecutor(8) as pool:
        found = list(pool.map(measured, range(24)))
    assert all("too little speech" in str(one) for one in found), found
    assert list(warnings.filters) == filters


@pytest.mark.extras
def test_a_silent_estimate_has_the_lowest_pesq():
    clean = speech()
    measured = speech_metrics(clean, np.zeros_like(clean), sample_rate_hz=RATE)
    assert (
        measured["pesq"]
        == LOWEST_PESQ
        == pytest.approx(0.999 + 4 / (1 + np.exp(0.5 * 1.3669 + 3.8224)), abs=1e-4)
    )
    assert measured["stoi"] == pytest.approx(0.0, abs=1e-3)


@pytest.mark.extras
@pytest.mark.parametrize("seconds", [0.1, 0.3])
def test_too_little_speech_is_an_error(seconds):
    clean = speech(seconds=seconds)
    with pytest.raises(AudioSepError, match=rf"target of {seconds:.2f} s holds too little speech"):
        speech_metrics(clean, clean.copy(), sample_rate_hz=RATE)
    with pytest.raises(AudioSepError, match="too little speech"):
        speech_metrics(np.zeros(RATE), np.ones(RATE), sample_rate_hz=RATE)


@pytest.mark.parametrize("package", ["pesq", "pystoi"])
def test_a_missing_package_is_named_with_its_extra(monkeypatch, package):
    for name in ("pesq", "pystoi"):
        monkeypatch.setitem(sys.modules, name, None if name == package else sys)
    with pytest.raises(AudioSepError) as error:
        speech_metrics(np.ones(RATE), np.ones(RATE), sample_rate_hz=RATE)
    assert str(error.value) == (
        f"The package {package}, which measures {package.removeprefix('py').upper()}, is not installed: "
        "pip install 'audiosep_jax[benchmark]'."
        if package == "pystoi"
        else "The package pesq, which measures PESQ, is not installed: pip install 'audiosep_jax[benchmark]'."
    )
