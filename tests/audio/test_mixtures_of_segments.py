"""Mixing against records of the reference's mixer, and options that the reference lacks."""

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_inputs import SEED, waveform

from audiosep_jax.audio.mixing import mix

MIX = jax.jit(mix)


@pytest.mark.parametrize("left_out", ["counted", "zeros"])
@pytest.mark.parametrize("most", [2, 3, 4])
def test_mixtures_and_targets_equal_the_reference(most, left_out):
    record = np.load(golden.FOLDER / "segment_mixer.npz")
    loudness = np.float32([1, 0.3, 2, 0.01])
    clips = np.stack([waveform(8000, SEED + 20 + i) for i in range(4)]) * loudness[:, None]
    segments = np.stack([[clips[(n + i) % 4] for i in range(most)] for n in range(4)])
    # The reference draws, per mixture: how many clips it takes, a gain per interferer, the gain of their sum.
    draws = iter(record[f"max_mix_num={most}/draws_low_high_value"].tolist())
    gains, counts = np.zeros((4, most), np.int32), np.zeros(4, np.int32)
    for n in range(4):
        counts[n] = next(draws)[2]
        for place in [*range(counts[n] - 1), -1]:
            gains[n, place] = next(draws)[2]
    assert not list(draws)
    if left_out == "zeros":  # as the data pipeline brings them
        segments = np.where(np.arange(most)[:, None] < counts[:, None, None], segments, 0)
    mixture, target = MIX(segments, gains, **({"counts": counts} if left_out == "counted" else {}))
    np.testing.assert_allclose(mixture, record[f"max_mix_num={most}/mixture"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(target, record[f"max_mix_num={most}/segment"], rtol=0, atol=1e-6)


def noise(*shape, level=0.05, seed=0):
    return (level * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def energy_db(waveform):
    return 10 * np.log10(np.mean(np.float64(waveform) ** 2, -1))


def test_gains_are_relative_to_the_target_at_any_loudness_of_the_clips():
    segments = noise(3, 2, 4000) * np.float32([[1, 1], [1, 0.1], [0.2, 1]])[..., None]
    gains = np.int32([[0, 0], [-6, 0], [3, -10]])
    mixture, target = MIX(segments, gains)
    np.testing.assert_array_equal(target, segments[:, 0])
    # The sum is matched to the target once more, so that an only interferer has the last gain.
    np.testing.assert_allclose(energy_db(mixture - target) - energy_db(target), gains[:, 1], atol=1e-3)


def test_a_peak_over_one_scales_target_and_mixture_alike():
    segments = noise(2, 2, 4000) * np.float32([[20, 20], [1, 1]])[..., None]
    mixture, target = MIX(segments, np.zeros((2, 2), np.int32))
    np.testing.assert_allclose(np.abs(mixture[0]).max(), 0.9, rtol=1e-6)
    np.testing.assert_allclose(target[0] / segments[0, 0], target[0, 0] / segments[0, 0, 0], rtol=1e-5)
    np.testing.assert_array_equal(target[1], segments[1, 0])


def test_the_level_moves_the_finished_mixture_and_its_target():
    segments, gains = noise(2, 2, 4000), np.zeros((2, 2), np.int32)
    mixture, target = MIX(segments, gains)
    quieter = MIX(segments, gains, level_db=np.float32([-20, 0]))
    for whole, changed in zip((mixture, target), quieter, strict=True):
        np.testing.assert_allclose(changed, whole * np.float32([[0.1], [1]]), rtol=1e-5)


def test_an_absent_sound_leaves_the_mixture_and_silences_the_target():
    segments, gains = noise(2, 3, 4000), np.zeros((2, 3), np.int32)
    mixture, target = MIX(segments, gains)
    same, silent = MIX(segments, gains, absent=np.array([True, False]))
    np.testing.assert_array_equal(same, mixture)
    assert not np.asarray(silent[0]).any()
    np.testing.assert_array_equal(silent[1], target[1])


@pytest.mark.parametrize("silent", [(0,), (1,), (0, 1)])
def test_silent_clips_give_finite_mixtures(silent):
    segments = noise(1, 2, 400)
    segments[:, silent] = 0
    mixture, target = MIX(segments, np.full((1, 2), 10, np.int32))
    assert np.isfinite(mixture).all()
    np.testing.assert_array_equal(target, segments[:, 0])
    assert np.asarray(mixture).any() == (silent != (0, 1))


@pytest.mark.parametrize("snr_db", [None, np.float32([-15, 3.7])])
@pytest.mark.parametrize("target_level", [1, 0])
def test_a_source_of_zeros_changes_nothing(snr_db, target_level):
    segments = noise(2, 5, 4000) * np.float32([target_level, 1, 0.3, 5, 1])[:, None]
    gains = np.int32([[10, -10, 3, 7, 2]] * 2)
    for count in (2, 3, 4):
        present = np.where(np.arange(5)[:, None] < count, segments, 0)
        few = np.concatenate([gains[:, : count - 1], gains[:, -1:]], axis=1)
        wanted = MIX(segments[:, :count], few, snr_db=snr_db)
        for found in (
            MIX(present, gains, snr_db=snr_db),
            MIX(segments, gains, snr_db=snr_db, counts=np.int32([count] * 2)),
        ):
            for one, two in zip(found, wanted, strict=True):
                np.testing.assert_allclose(one, two, rtol=0, atol=2e-7)


SNRS = np.float32([-15, -14.99, -3.3, 0, 1e-3, 7.25, 15, 60])


@pytest.mark.parametrize("sources", [2, 5])
@pytest.mark.parametrize("loudness", [1, 1e-4])
def test_the_stated_ratio_is_met_whatever_the_loudness_of_the_clips(sources, loudness):
    """Also where the reference would stop scaling: 80 dB between target and interferers."""
    segments = noise(len(SNRS), sources, 8000, level=0.02)
    segments[:, 1:] *= np.float32(loudness)
    # The gain of the sum says nothing here; those of the interferers only who is loudest.
    gains = np.random.default_rng(1).integers(-10, 11, (len(SNRS), sources)).astype(np.int32)
    mixture, target = MIX(segments, gains, snr_db=SNRS, level_db=np.float32([-6] * len(SNRS)))
    rest = np.float64(mixture) - np.float64(target)
    # What a float32 mixture can hold of an interferer 60 dB below.
    np.testing.assert_allclose((energy_db(target) - energy_db(rest))[:-1], SNRS[:-1], atol=2e-4)
    np.testing.assert_allclose((energy_db(target) - energy_db(rest))[-1], SNRS[-1], atol=1e-2)


def test_limiting_the_peak_keeps_the_stated_ratio():
    segments = noise(2, 3, 4000) * np.float32([15, 1, 1])[:, None]
    mixture, target = MIX(segments, np.zeros((2, 3), np.int32), snr_db=np.float32([-12.5, 4.5]))
    np.testing.assert_allclose(np.abs(mixture).max(axis=-1), 0.9, rtol=1e-6)
    rest = np.float64(mixture) - np.float64(target)
    np.testing.assert_allclose(energy_db(target) - energy_db(rest), [-12.5, 4.5], atol=1e-4)


def test_at_a_stated_ratio_interferers_keep_their_gains_beside_each_other():
    time = np.arange(4000) / 4000
    segments = np.float32(
        [[np.sin(2 * np.pi * f * time) * a for f, a in ((100, 0.1), (300, 0.01), (700, 0.3))]]
    )
    mixture, target = MIX(segments, np.int32([[4, -5, 10]]), snr_db=np.float32([6]))
    rest = np.abs(np.fft.rfft(np.float64(mixture[0] - target[0])))
    np.testing.assert_allclose(20 * np.log10(rest[300] / rest[700]), 9, atol=1e-3)


def test_silence_at_a_stated_ratio():
    segments = noise(3, 2, 4000)
    segments[0, 1:] = 0  # nothing to bring to a ratio
    segments[1, 0] = 0  # a target of -100 dB at most
    mixture, target = MIX(segments, np.zeros((3, 2), np.int32), snr_db=np.float32([-15, -15, 5]))
    np.testing.assert_array_equal(mixture[0], target[0])
    assert not np.asarray(target[1]).any()
    np.testing.assert_allclose(energy_db(mixture[1]), -100 + 15, atol=1e-3)
    absent, silent = MIX(
        segments, np.zeros((3, 2), np.int32), snr_db=np.float32([-15, -15, 5]), absent=np.array([True] * 3)
    )
    np.testing.assert_array_equal(absent, mixture)
    assert not np.asarray(silent).any()


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="need two sources or more"):
        mix(jnp.ones((2, 1, 10)), jnp.zeros((2, 1), int))
    with pytest.raises(TypeError, match="gains_db"):
        mix(jnp.ones((2, 3, 10)), jnp.zeros((2, 2), int))
