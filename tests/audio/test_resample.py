"""Sample-rate conversion: exact lengths, streams equal to one call, frequencies kept or removed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audiosep_jax.audio.resample import StreamResampler, resample
from audiosep_jax.errors import AudioSepError

RATES = st.sampled_from([8000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000, 44_101])


@settings(deadline=None, max_examples=100)
@given(samples=st.integers(1, 5000), from_hz=RATES, to_hz=RATES, block=st.integers(1, 2000))
def test_length_is_exact_and_blocks_join_to_the_one_shot_result(samples, from_hz, to_hz, block):
    waveform = np.random.default_rng(samples).normal(size=(2, samples)).astype(np.float32)
    whole = resample(waveform, from_hz=from_hz, to_hz=to_hz)
    assert whole.dtype == np.float32
    assert whole.shape == (2, -(-samples * to_hz // from_hz))
    stream = StreamResampler(channels=2, from_hz=from_hz, to_hz=to_hz)
    parts = [stream.push(waveform[:, i : i + block]) for i in range(0, samples, block)] + [stream.flush()]
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, atol=1e-5)


def test_any_leading_axes():
    waveform = np.random.default_rng(0).normal(size=(2, 3, 441))
    result = resample(waveform, from_hz=44_100, to_hz=16_000)
    assert result.shape == (2, 3, 160)
    np.testing.assert_allclose(
        result[1, 2], resample(waveform[1, 2], from_hz=44_100, to_hz=16_000), atol=1e-6
    )


def test_a_tone_keeps_its_time_and_one_above_the_new_rate_vanishes():
    def tone(hz, rate):
        return np.sin(2 * np.pi * hz * np.arange(rate) / rate)

    result = resample(tone(1000, 44_100), from_hz=44_100, to_hz=16_000)
    np.testing.assert_allclose(result[1000:-1000], tone(1000, 16_000)[1000:-1000], atol=1e-3)
    assert np.abs(resample(tone(12_000, 44_100), from_hz=44_100, to_hz=16_000)[1000:-1000]).max() < 1e-4


def test_down_and_up_returns_a_low_tone():
    waveform = np.sin(np.arange(44_100) / 20)
    down = resample(waveform, from_hz=44_100, to_hz=16_000)
    up = resample(down, from_hz=16_000, to_hz=44_100)
    np.testing.assert_allclose(up[2000:42_000], waveform[2000:42_000], atol=1e-3)


def test_the_same_rate_changes_nothing():
    waveform = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    np.testing.assert_array_equal(resample(waveform, from_hz=16_000, to_hz=16_000), waveform)


@pytest.mark.parametrize("rate", [0, -1, 44.1])
def test_unusable_rates_are_refused(rate):
    with pytest.raises(AudioSepError, match=f"sample rate of {rate} Hz"):
        resample(np.zeros(10), from_hz=rate, to_hz=16_000)
