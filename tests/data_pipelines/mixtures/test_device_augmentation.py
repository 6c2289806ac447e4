"""The augmentation on the device is that of the host, for the same numbers."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiosep_jax.config import AugmentConfig
from data_pipelines.mixtures import augmentation
from data_pipelines.mixtures.augmentation import Treatment
from data_pipelines.mixtures.device_augmentation import (
    Treatments,
    draw_treatments,
    filtered,
    fixed_speed,
    played,
    tail_samples,
)

RATE = 8000
CONFIG = AugmentConfig(
    speed_range=(0.7, 1.4),
    equalizer_db=4.0,
    low_pass_share=0.5,
    low_pass_range_hz=(500, 3000),
    reverb_share=0.5,
    reverb_range_seconds=(0.1, 0.4),
)
OCTAVES = (3.0, -6.0, 0.0, 8.0, -2.0, 4.0, -5.0)


def treatments(*each):
    return Treatments(
        speed=jnp.array([one.speed for one in each], jnp.float32),
        octaves_db=jnp.array([one.octaves_db or (0.0,) * len(OCTAVES) for one in each], jnp.float32),
        low_pass_hz=jnp.array([one.low_pass_hz for one in each], jnp.float32),
        reverb_seconds=jnp.array([one.reverb_seconds for one in each], jnp.float32),
        reverb_db=jnp.array([one.reverb_db for one in each], jnp.float32),
    )


def difference_db(one, two):
    return 10 * np.log10(np.mean((one - two) ** 2) / np.mean(two**2) + 1e-20)


def smooth_noise(samples, *, below=0.35, seed=0):
    """Noise without the highest frequencies, where filters of different lengths differ."""
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(samples))
    spectrum[round(below * samples) :] = 0
    return (0.1 * np.fft.irfft(spectrum, samples)).astype(np.float32)


read = jax.jit(played, static_argnums=4)

EACH = [
    Treatment(),
    Treatment(octaves_db=OCTAVES),
    Treatment(low_pass_hz=1500.0),
    Treatment(reverb_seconds=0.25, reverb_db=-6.0, reverb_seed=3),
    Treatment(octaves_db=OCTAVES, low_pass_hz=2500.0, reverb_seconds=0.4, reverb_db=-1.0, reverb_seed=4),
]


def test_filters_and_reverberation_are_those_of_the_host():
    # Silence at both ends, so that what the filters ring around the end is not compared.
    segments = np.stack([smooth_noise(6000, seed=seed) for seed in range(len(EACH))])
    segments[:, :1000], segments[:, -1000:] = 0, 0
    tail = tail_samples(CONFIG, RATE)
    assert tail == 3200
    noise = np.zeros((len(EACH), tail), np.float32)
    for row, each in zip(noise, EACH, strict=True):
        samples = round(each.reverb_seconds * RATE)
        row[:samples] = np.random.default_rng(each.reverb_seed).standard_normal(samples, np.float32)
    change = jax.jit(functools.partial(filtered, config=CONFIG, sample_rate_hz=RATE))
    changed = change(segments, treatments(*EACH), noise)
    for row, segment, each in zip(np.asarray(changed), segments, EACH, strict=True):
        expected = augmentation.filtered(segment, each, sample_rate_hz=RATE)
        assert difference_db(row, expected) < -40


@pytest.mark.parametrize("speed", [0.7, 0.93, 1.0, 1.21, 1.4])
def test_speed_is_that_of_the_host(speed):
    clip = smooth_noise(8000, below=0.3)
    stored = augmentation_int16(clip)
    everything = np.concatenate([np.full(500, 9999, np.int16), stored, np.full(500, 9999, np.int16)])
    samples = int(len(clip) / speed)
    result = read(
        jnp.asarray(everything),
        jnp.array([500]),
        (jnp.array([500]), jnp.array([8500])),
        jnp.arange(samples)[None],
        CONFIG,
        jnp.array([speed], jnp.float32),
    )[0]
    # The device rounds speeds; over a second that would be a twentieth of a sample.
    step, places = fixed_speed(CONFIG, samples, jnp.float32(speed))
    rounded = int(step) / 2**places
    assert rounded == pytest.approx(speed, rel=1e-4)
    expected = augmentation.at_speed(stored.astype(np.float32) / 32768, rounded, samples=samples)
    middle = slice(200, -200)
    assert difference_db(np.asarray(result)[middle], expected[middle]) < -50


def test_positions_stay_exact_in_long_sounds():
    hertz, speed = 3000, 1.37
    time = np.arange(60 * RATE)
    clip = augmentation_int16(0.5 * np.sin(2 * np.pi * hertz * time / 32_000))
    samples = 300_000
    config = dataclasses.replace(CONFIG, speed_range=(1.37, 1.4))
    result = read(
        jnp.asarray(clip),
        jnp.array([0]),
        (jnp.array([0]), jnp.array([len(clip)])),
        jnp.arange(samples)[None],
        config,
        jnp.array([speed], jnp.float32),
    )[0]
    end = np.arange(samples - 2000, samples)
    expected = 0.5 * np.sin(2 * np.pi * hertz * speed * end / 32_000)
    # The speed itself is rounded to a multiple of 2⁻¹¹ here; the phase at the end may be off by that.
    assert level_of(np.asarray(result)[-2000:], expected) > 0.9


def level_of(sound, like):
    """Correlation of a sound with a tone of any phase."""
    turned = np.imag(np.fft.ifft(np.fft.fft(like) * np.where(np.arange(len(like)) < len(like) / 2, 2, 0)))
    energy = np.sqrt((sound @ like) ** 2 + (sound @ turned) ** 2)
    return energy / np.sqrt((sound @ sound) * (like @ like))


def augmentation_int16(sound):
    return np.rint(sound * 32768).astype(np.int16)


def test_without_a_change_nothing_is_computed():
    segments = jnp.ones((2, 10))
    assert filtered(segments, None, None, config=AugmentConfig(), sample_rate_hz=RATE) is segments


def test_drawn_numbers_have_the_distribution_of_the_host():
    draw = jax.jit(lambda key: draw_treatments(CONFIG, key, (20_000,), sample_rate_hz=RATE))
    many = draw(jax.random.key(0))
    rng = np.random.default_rng(0)
    host = [augmentation.draw_treatment(CONFIG, rng, sample_rate_hz=RATE) for _ in range(5000)]
    speeds = np.array([one.speed for one in host])
    for share in (0.1, 0.5, 0.9):
        assert np.quantile(many.speed, share) == pytest.approx(np.quantile(speeds, share), abs=0.02)
    assert many.octaves_db.shape == (20_000, len(host[0].octaves_db))
    assert np.std(many.octaves_db) == pytest.approx(4.0, rel=0.05)
    for name in ("low_pass_hz", "reverb_seconds"):
        drawn, expected = np.asarray(getattr(many, name)), np.array([getattr(one, name) for one in host])
        assert np.mean(drawn > 0) == pytest.approx(np.mean(expected > 0), abs=0.03)
        assert np.median(drawn[drawn > 0]) == pytest.approx(np.median(expected[expected > 0]), rel=0.05)
    reverberant = np.asarray(many.reverb_seconds) > 0
    assert np.asarray(many.reverb_db)[reverberant].mean() == pytest.approx(-10, abs=0.3)
