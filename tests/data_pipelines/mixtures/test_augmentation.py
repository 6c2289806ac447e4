import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipelines_sounds import RATE, prepared, write_folder

from audiosep_jax.config import AugmentConfig, DataConfig, MixtureConfig
from audiosep_jax.errors import ConfigError
from data_pipelines.mixtures.augmentation import Treatment, at_speed, draw_treatment, filtered
from data_pipelines.mixtures.clip_index import Clip
from data_pipelines.mixtures.clip_table import ClipTable
from data_pipelines.mixtures.draws import DrawSource
from data_pipelines.mixtures.pipeline import MixturePipeline

EVERYTHING = AugmentConfig(
    speed_range=(0.7, 1.4),
    equalizer_db=4.0,
    low_pass_share=0.5,
    low_pass_range_hz=(500, 3000),
    reverb_share=0.5,
)


def tone(hertz, *, seconds=1.0, rate=8000):
    return np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate).astype(np.float32)


def level(sound, hertz, *, rate=8000):
    """Amplitude of a frequency in the middle of a sound."""
    middle = sound[len(sound) // 4 : 3 * len(sound) // 4]
    return 2 * abs(middle @ np.exp(-2j * np.pi * hertz * np.arange(len(middle)) / rate)) / len(middle)


@pytest.mark.parametrize("speed", [0.5, 0.8, 1.25, 2.0])
def test_speed_moves_pitch_and_duration(speed):
    played = at_speed(tone(500), speed, samples=round(8000 / speed))
    assert len(played) == round(8000 / speed)
    assert level(played, 500 * speed) > 0.95
    assert level(played, 500) < 0.05


def test_a_sound_is_filled_with_zeros_or_cut_to_its_length():
    assert at_speed(tone(500), 2.0, samples=5000)[4100:].max() == 0
    assert len(at_speed(tone(500), 0.5, samples=3)) == 3


def test_octaves_get_their_gain():
    treatment = Treatment(octaves_db=(0.0, 0.0, 0.0, -12.0, 0.0, 6.0, 0.0))  # 62.5 … 500 … 2000 … Hz
    for hertz, gain_db in ((125, 0), (500, -12), (2000, 6)):
        changed = filtered(tone(hertz), treatment, sample_rate_hz=8000)
        assert 20 * np.log10(level(changed, hertz)) == pytest.approx(gain_db, abs=0.3)


def test_a_low_pass_filter_leaves_nothing_above_and_everything_below():
    treatment = Treatment(low_pass_hz=1500.0)
    assert level(filtered(tone(1000), treatment, sample_rate_hz=8000), 1000) == pytest.approx(1, abs=0.01)
    assert level(filtered(tone(1800), treatment, sample_rate_hz=8000), 1800) < 0.01


def test_filters_do_not_move_a_sound():
    click = np.zeros(8000, np.float32)
    click[3000] = 1
    treatment = Treatment(octaves_db=(3.0, -3.0, 5.0, 0.0, -6.0, 2.0, 0.0), low_pass_hz=2500.0)
    changed = filtered(click, treatment, sample_rate_hz=8000)
    assert np.argmax(np.abs(changed)) == 3000
    np.testing.assert_allclose(changed[3001:3100], changed[2999:2900:-1], atol=1e-6)


def test_reverberation_follows_the_sound_with_its_energy_and_decay():
    click = np.zeros(16_000, np.float32)
    click[4000] = 1
    treatment = Treatment(reverb_seconds=0.5, reverb_db=-6.0, reverb_seed=3)
    room = filtered(click, treatment, sample_rate_hz=8000)
    assert room[4000] == pytest.approx(1, abs=1e-4)
    assert np.abs(room[:3999]).max() < 1e-5
    tail = room[4001:].astype(float)
    assert 10 * np.log10(tail @ tail) == pytest.approx(-6, abs=0.1)
    parts = [float(np.mean(tail[start : start + 400] ** 2)) for start in (400, 2400)]
    assert 10 * np.log10(parts[0] / parts[1]) == pytest.approx(60 * 0.25 / 0.5, abs=4)


@given(st.integers(0, 2**32))
def test_draws_stay_in_their_ranges_and_one_option_does_not_change_another(seed):
    def drawn(config):
        return draw_treatment(config, np.random.default_rng(seed), sample_rate_hz=8000)

    one = drawn(EVERYTHING)
    assert 0.7 <= one.speed <= 1.4
    assert one.low_pass_hz == 0 or 500 <= one.low_pass_hz <= 3000
    assert one.reverb_seconds == 0 or 0.1 <= one.reverb_seconds <= 0.8
    assert drawn(dataclasses.replace(EVERYTHING, equalizer_db=0.0)) == dataclasses.replace(one, octaves_db=())
    assert drawn(AugmentConfig()) == Treatment()


def draws(augment, samples=500):
    clips = [
        Clip(
            id=str(n),
            label=str(n),
            captions=(str(n),),
            source=str(n),
            samples=samples,
            active=(40, samples - 20),
        )
        for n in range(20)
    ]
    return DrawSource(
        ClipTable([clips]),
        MixtureConfig(segment_seconds=2.0),
        sample_rate_hz=100,
        batch_size=4,
        seed=5,
        augment=augment,
    )


@pytest.mark.parametrize("samples", [90, 199, 201, 260, 500])
def test_crops_of_every_speed_fit_clip_and_segment(samples):
    source = draws(EVERYTHING, samples)
    for index in range(200):
        for crop in source[index].crops:
            assert 0 <= crop.start < crop.stop <= samples
            assert 0 <= crop.offset <= crop.offset + crop.length <= 200
            assert crop.length == pytest.approx((crop.stop - crop.start) / crop.treatment.speed, abs=4)
            assert crop.start < samples - 20


def test_sounds_of_a_mixture_are_changed_differently_and_other_draws_stay():
    changed, plain = draws(EVERYTHING), draws(AugmentConfig())
    for index in range(20):
        one, two = changed[index], plain[index]
        assert len({crop.treatment for crop in one.crops}) == 2
        assert [crop.clip for crop in one.crops] == [crop.clip for crop in two.crops]
        assert (one.absent, one.caption) == (two.absent, two.caption)


def test_batches_are_augmented_alike_for_any_number_of_threads(tmp_path):
    dataset = prepared(write_folder(tmp_path / "source"), tmp_path / "dataset")
    mixture = MixtureConfig(segment_seconds=0.5)

    def batches(threads, augment):
        pipeline = MixturePipeline(
            DataConfig(datasets=(str(dataset),), read_threads=threads),
            mixture,
            sample_rate_hz=RATE,
            batch_size=4,
            conditions=lambda captions: np.ones((len(captions), 2), np.float32),
            augment=augment,
        )
        return [batch.segments for batch in pipeline.batches(stop_step=4)]

    config = dataclasses.replace(EVERYTHING, low_pass_range_hz=(RATE / 8, RATE / 3))
    alone, threaded, plain = batches(0, config), batches(3, config), batches(0, AugmentConfig())
    np.testing.assert_array_equal(alone, threaded)
    assert np.isfinite(alone).all()
    assert np.abs(np.subtract(alone, plain)).max() > 0.01


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"speed_range": (1.2, 0.8)}, r"augment.speed_range is (1.2, 0.8)"),
        ({"speed_range": (0.1, 1.0)}, "from 0.25 to 4"),
        ({"low_pass_range_hz": (0.0, 10.0)}, "augment.low_pass_range_hz"),
        ({"reverb_range_seconds": (1.0, 11.0)}, "at most 10"),
        ({"equalizer_db": -1.0}, "augment.equalizer_db is -1"),
        ({"equalizer_db": 21.0}, "at most 20 dB"),
        ({"low_pass_share": 1.1}, "augment.low_pass_share is 1.1"),
        ({"reverb_share": -0.1}, "augment.reverb_share is -0.1"),
        ({"speed_range": (float("nan"), 1.0)}, "augment.speed_range"),
    ],
)
def test_mistakes_are_named(values, said):
    with pytest.raises(ConfigError) as error:
        AugmentConfig(**values)
    assert said in str(error.value)
