from pathlib import Path

import jax
import numpy as np
import pytest
from golden_inputs import SEED, waveform

from audiosep_jax.encoders.clap.config import LogMelConfig
from audiosep_jax.encoders.clap.log_mel import log_mel, mel_matrix
from audiosep_jax.errors import AudioSepError

DATA = Path(__file__).parents[2] / "data"
# As in data/make_htsat_records.py, which asked the feature extractor of transformers.
CASES = {
    "laion": (LogMelConfig(), 9_000),
    "low": (
        LogMelConfig(
            sample_rate_hz=16_000,
            mel_bins=12,
            window_length=256,
            hop_length=100,
            frequency_min_hz=0.0,
            frequency_max_hz=7_000.0,
        ),
        3_333,
    ),
    "high": (
        LogMelConfig(mel_bins=40, hop_length=512, frequency_min_hz=1_500.0, frequency_max_hz=24_000.0),
        4_096,
    ),
}


@pytest.fixture(scope="module")
def records():
    return np.load(DATA / "htsat_records.npz")


def spectrogram(waveforms, config):
    transform = jax.jit(lambda waves, matrix: log_mel(waves, config=config, matrix=matrix))
    return np.asarray(transform(waveforms, mel_matrix(config)))


def test_golden_log_mel_of_laion():
    expected = np.load(DATA / "golden" / "laion_clap.npz")["logmel_every_50th_frame"]
    waveforms = np.stack([waveform(480_000, SEED + 70), waveform(480_000, SEED + 71)])
    frames = spectrogram(waveforms, LogMelConfig())
    assert frames.shape == (2, 1001, 64)
    assert frames.dtype == np.float32
    np.testing.assert_allclose(frames[:, ::50], expected, rtol=0, atol=2e-4)


@pytest.mark.parametrize("name", list(CASES))
def test_filters_are_those_of_librosa(name, records):
    config, _ = CASES[name]
    matrix = mel_matrix(config)
    assert matrix.shape == (config.window_length // 2 + 1, config.mel_bins)
    assert matrix.dtype == np.float32
    expected = records[f"{name}/mel_matrix"]
    np.testing.assert_allclose(matrix[::4], expected, rtol=1e-5, atol=1e-6 * expected.max())
    assert (matrix >= 0).all()
    assert (matrix.max(axis=0) > 0).all()


@pytest.mark.parametrize("name", list(CASES))
def test_log_mel_is_that_of_transformers(name, records):
    config, samples = CASES[name]
    frames = spectrogram(waveform(samples, SEED + 80)[None], config)
    expected = records[f"{name}/log_mel"]
    assert frames.shape == (1, samples // config.hop_length + 1, config.mel_bins)
    np.testing.assert_allclose(frames[0], expected, rtol=0, atol=1e-3)


def test_silence_is_at_the_floor_and_gain_is_additive_in_db():
    sound = waveform(4_800, 3)
    waveforms = np.stack([np.zeros_like(sound), sound, sound * np.float32(10)])
    silent, quiet, loud = spectrogram(waveforms, LogMelConfig())
    np.testing.assert_allclose(silent, -100, rtol=1e-6)
    np.testing.assert_allclose(loud, quiet + 20, atol=1e-3)


def test_filters_have_unit_area():
    config = LogMelConfig(window_length=8192)
    hz_per_bin = config.sample_rate_hz / config.window_length
    np.testing.assert_allclose(mel_matrix(config).sum(axis=0) * hz_per_bin, 1, rtol=2e-2)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"mel_bins": 0}, "mel_bins 0 must be positive"),
        ({"hop_length": 2048}, "hop_length 2048 within 1…window_length \\(1024\\)"),
        ({"window_length": 1023}, "window_length is 1023: an even number"),
        ({"frequency_max_hz": 30_000.0}, "within 0…24000, half the sample rate"),
        (
            {"frequency_min_hz": 15_000.0},
            "frequency_min_hz 15000 and frequency_max_hz 14000 must be in order",
        ),
    ],
)
def test_impossible_front_ends_are_refused(values, sentence):
    with pytest.raises(AudioSepError, match=sentence):
        LogMelConfig(**values)
