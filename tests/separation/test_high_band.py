"""The band above the model's Nyquist frequency: left to the residual, or extended from the band below."""

import numpy as np
import pytest
from separation_models import CONDITION_SIZE, RATE, scene

from audiosep_jax import Query
from audiosep_jax.audio.high_band import HighBand
from audiosep_jax.audio.resample import resample

CONDITION = np.linspace(-1, 1, CONDITION_SIZE)
HIGH_RATE = 22_050


def extended(mixture, estimates, *, block=10_000, shared=False, rate=HIGH_RATE):
    """Returns the extended estimates of `[channels, samples]`, given those below the model's band."""
    low = below(mixture, rate=rate)
    stream = HighBand(
        estimates=len(estimates),
        channels=len(mixture),
        sample_rate_hz=rate,
        model_rate_hz=RATE,
        shared=shared,
    )
    parts = []
    for start in range(0, mixture.shape[1], block):
        cut = np.s_[..., start : start + block]
        parts.append(stream.push(mixture[cut], low[cut], estimates[cut]))
    return np.concatenate([*parts, stream.flush()], axis=-1)


def below(waveform, *, rate=HIGH_RATE):
    down = resample(waveform, from_hz=rate, to_hz=RATE)
    return resample(down, from_hz=RATE, to_hz=rate)[..., : waveform.shape[-1]]


def noise(channels, samples, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, (channels, samples)).astype(np.float32)


@pytest.mark.parametrize("samples", [1, 100, 20_000])
def test_an_estimate_gets_its_share_of_the_high_band(samples):
    mixture = noise(2, samples)
    low = below(mixture)
    everything, nothing, half = extended(mixture, np.stack([low, 0 * low, low / 2]))
    assert not nothing.any()
    if samples > 1000:  # what is shorter than a frame may hold nothing in the band
        np.testing.assert_allclose(everything, mixture, atol=1e-5)
        np.testing.assert_allclose(half, mixture / 2, atol=1e-5)


@pytest.mark.parametrize("block", [1, 177, 5000])
def test_the_size_of_blocks_does_not_matter(block):
    mixture = noise(2, 6000)
    estimates = below(mixture)[None] * np.linspace(0, 1, 6000, dtype=np.float32)
    whole = extended(mixture, estimates, block=6000)
    assert whole.shape == estimates.shape
    np.testing.assert_allclose(extended(mixture, estimates, block=block), whole, atol=1e-6)


def test_parts_that_sum_to_the_mixture_still_do():
    mixture = noise(1, 20_000)
    low = below(mixture)
    share = np.linspace(0, 1, 20_000, dtype=np.float32) ** 2
    first, second = extended(mixture, np.stack([low * share, low * (1 - share)]))
    np.testing.assert_allclose(first + second, mixture, atol=1e-5)


def test_the_band_above_follows_the_band_below_in_time():
    # The sound to extract is heard in the second half only: so is what it gets of the band above.
    mixture = noise(1, 2 * HIGH_RATE)
    estimate = below(mixture)[None].copy()
    estimate[..., :HIGH_RATE] = 0
    above = extended(mixture, estimate)[0] - estimate[0]
    quiet, loud = above[:, : HIGH_RATE - 500], above[:, HIGH_RATE + 500 :]
    assert np.abs(quiet).max() == 0
    expected = (mixture - below(mixture))[:, HIGH_RATE + 500 :]
    assert np.abs(loud - expected).max() < 0.02 * np.abs(expected).max()


def test_an_opposed_estimate_gets_nothing_and_one_gain_can_serve_all_channels():
    mixture = noise(2, 20_000)
    low = below(mixture)
    assert not (extended(mixture, -low[None]) + low[None]).any()
    one_channel = np.stack([low[0], 0 * low[1]])[None]
    each, shared = (
        extended(mixture, one_channel, shared=shared)[0] - one_channel[0] for shared in (False, True)
    )
    assert not each[1].any()
    energies = [np.square(above).sum() for above in (mixture - low, shared)]
    assert energies[1] == pytest.approx(energies[0] / 4, rel=0.1)


@pytest.mark.parametrize("channel_mask", ["each", pytest.param("shared", marks=pytest.mark.slow)])
def test_sums_stay_exact_and_the_rule_is_an_option(model, channel_mask):
    time = np.arange(HIGH_RATE) / HIGH_RATE
    tone = 0.25 * np.sin(2 * np.pi * 9000 * time) * (time > 0.5)
    waveform = scene(1, rate=HIGH_RATE, channels=2) / 2 + tone
    mixture = (np.rint(waveform * 2**15) / 2**15).astype(np.float32)
    arguments = {"condition": CONDITION, "channel_mask": channel_mask}
    kept = model.separate(mixture, HIGH_RATE, **arguments, high_band="residual")
    moved = model.separate(mixture, HIGH_RATE, **arguments, high_band="extend")
    np.testing.assert_array_equal(kept.estimate, model.separate(mixture, HIGH_RATE, **arguments).estimate)
    for result in (kept, moved):
        np.testing.assert_array_equal(result.estimate + result.residual, mixture)
    np.testing.assert_allclose(
        below(moved.estimate)[:, 500:-500], below(kept.estimate)[:, 500:-500], atol=1e-3
    )
    window = np.hanning(8000)
    spectra = [np.abs(np.fft.rfft(window * each.estimate[0, -9000:-1000])) for each in (kept, moved)]
    at = round(9000 * 8000 / HIGH_RATE)
    levels = [spectrum[at] / (0.25 * window.sum() / 2) for spectrum in spectra]
    assert levels[0] < 1e-3
    assert 0.02 < levels[1] <= 1.01


def test_a_file_is_extended_as_an_array_is(model, tmp_path):
    import soundfile

    from audiosep_jax.audio.reading import read_audio

    path = tmp_path / "in.wav"
    soundfile.write(path, scene(1, rate=HIGH_RATE, channels=2).T, HIGH_RATE, subtype="PCM_24")
    query = Query(condition=CONDITION)
    model.separate_file(path, query=query, estimate_path=tmp_path / "e.wav", high_band="extend")
    expected = model.separate(read_audio(path).waveform, HIGH_RATE, query=query, high_band="extend").estimate
    np.testing.assert_allclose(read_audio(tmp_path / "e.wav").waveform, expected, atol=2**-22)


def test_nothing_changes_without_a_band_above_the_model(model):
    waveform = scene(1)[0]
    results = [
        model.separate(waveform, RATE, condition=CONDITION, high_band=rule).estimate
        for rule in ("residual", "extend")
    ]
    np.testing.assert_array_equal(*results)
