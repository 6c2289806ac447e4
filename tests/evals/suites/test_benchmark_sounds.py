"""The sound of one mixture: how it is mixed, given to the model, and measured."""

import benchmark_folders
import numpy as np
import pytest

from audiosep_jax.errors import AudioSepError
from audiosep_jax.evals.suites.definitions import SUITES
from audiosep_jax.evals.suites.mixtures import given_samples, read_sound
from audiosep_jax.evals.suites.plan import list_mixtures


@pytest.mark.parametrize("silent", ["s1", "n 1"])
def test_silence_is_not_mixed_at_an_snr(tmp_path, silent):
    benchmark_folders.dcase(tmp_path, tmp_path)
    zeros = np.zeros(8000, np.float32)
    benchmark_folders.write_sound(tmp_path / f"lass_validation/{silent}.wav", zeros, 16_000)
    mixture = list_mixtures(SUITES["dcase"].datasets, metadata=tmp_path, root=tmp_path)[1]
    with pytest.raises(AudioSepError, match=rf"{silent}\.wav is silent and cannot be mixed at 0 dB: get"):
        read_sound(mixture, measure_hz=16_000, model_hz=16_000, full_band=False)


def test_a_model_of_speech_is_given_the_full_band(tmp_path):
    """A model of 32 kHz gets a tone of 12 kHz, although estimates are measured at 16 kHz."""
    t = np.arange(48_000) / 48_000
    low, high = (np.sin(2 * np.pi * hertz * t).astype(np.float32) for hertz in (500, 12_000))
    (tmp_path / "log_testset.txt").write_text("p232_001 bus 2.5\n", "utf-8")
    for kind, waveform in (("clean", 0.3 * low), ("noisy", 0.3 * low + 0.2 * high)):
        benchmark_folders.write_sound(tmp_path / f"{kind}_testset_wav/p232_001.wav", waveform, 48_000)
    suite = SUITES["voicebank"]
    (mixture,) = list_mixtures(suite.datasets, metadata=tmp_path, root=tmp_path)
    rates = {"measure_hz": suite.measure_hz, "model_hz": 32_000}
    sound = read_sound(mixture, full_band=suite.full_band, **rates)
    assert len(sound.given) == given_samples(mixture, full_band=suite.full_band, **rates) == 32_000
    assert len(sound.target) == len(sound.mixture) == 16_000

    def amplitude(waveform, hertz):
        return 2 * np.abs(np.fft.rfft(waveform))[hertz] / len(waveform)  # a second: a bin is a hertz

    assert amplitude(sound.given, 500) == pytest.approx(0.3, rel=0.02)
    assert amplitude(sound.given, 12_000) == pytest.approx(0.2, rel=0.02)
    assert amplitude(sound.mixture, 500) == pytest.approx(0.3, rel=0.02)
    # The tone's sudden beginning and end reach every band.
    assert np.abs(sound.mixture - sound.target)[100:-100].max() < 1e-3
    # In other suites every model gets a mixture that was resampled to 16 kHz.
    assert amplitude(read_sound(mixture, full_band=False, **rates).given, 12_000) < 0.002
