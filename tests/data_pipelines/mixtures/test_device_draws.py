"""Mixtures that the device draws: who meets, what lies where, and that draws are reproducible."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiosep_jax.audio.mixing import mix
from audiosep_jax.config import AugmentConfig, MixtureConfig
from audiosep_jax.errors import ConfigError, DatasetError
from data_pipelines.mixtures import device_draws
from data_pipelines.mixtures.clip_index import Clip
from data_pipelines.mixtures.clip_table import ClipTable

RATE = 1000
MIXTURE = MixtureConfig(
    sources=3, fewest_sources=2, segment_seconds=1.0, absent_probability=0.3, level_range_db=(-10.0, 0.0)
)
PLAIN = AugmentConfig()
EVERYTHING = AugmentConfig(
    speed_range=(0.8, 1.25),
    equalizer_db=3.0,
    low_pass_share=0.5,
    low_pass_range_hz=(100, 400),
    reverb_share=0.5,
)


def clips_of(count=24, labels=6):
    """Clips of 0.5 to 2.8 s; their sound is a ramp, so each sample tells its place and its clip."""
    rows = []
    for index in range(count):
        samples = 500 + 100 * index
        label = f"label {index % labels}"
        rows.append(
            Clip(
                id=f"{index}.wav",
                label=label,
                captions=(f"caption {index % labels}", f"own caption {index}")[: 1 + index % 2],
                source=f"recording {index // 2}" if index < 4 else f"alone {index}",
                samples=samples,
                active=(samples // 4, samples // 2),
                labels=(label, f"{label} / label {(index + 1) % labels}"),
            )
        )
    return rows


def sounds_of(rows):
    return [
        (100 * (index + 1) + np.arange(clip.samples) % 97).astype(np.int16) for index, clip in enumerate(rows)
    ]


def on_device(rows, mixture=MIXTURE, **options):
    table = ClipTable([rows], mixture)
    sounds = sounds_of(rows)
    arrays = device_draws.device_clips(
        table,
        mixture,
        sound=np.concatenate(sounds),
        begin=np.cumsum([0, *map(len, sounds)]),
        conditions=np.eye(len(table.captions), dtype=np.float32),
        **options,
    )
    return table, jax.device_put(arrays)


@functools.partial(jax.jit, static_argnames=("mixture", "augment", "batch_size"))
def drawn(clips, key, absent, *, mixture, augment, batch_size):
    return device_draws.draw(
        clips,
        mixture,
        augment,
        key,
        batch_size=batch_size,
        sample_rate_hz=RATE,
        absent_probability=absent,
    )


def draw(clips, seed=0, *, mixture=MIXTURE, augment=PLAIN, batch_size=512, absent=0.3):
    arguments = {"mixture": mixture, "augment": augment, "batch_size": batch_size}
    return jax.device_get(drawn(clips, jax.random.key(seed), jnp.float32(absent), **arguments))


@functools.partial(jax.jit, static_argnames=("mixture", "augment"))
def read(clips, draws, mixture=MIXTURE, augment=PLAIN):
    return device_draws.read(clips, draws, mixture, augment, jax.random.key(0), sample_rate_hz=RATE)


@pytest.fixture(scope="module")
def small():
    return on_device(clips_of())


def test_clips_that_must_not_meet_never_do(small):
    table, clips = small
    draws = draw(clips)
    for row, asked, absent in zip(draws.clips, draws.asked, draws.absent, strict=True):
        together = [int(clip) for clip in row if clip >= 0] + [int(asked)] * bool(absent)
        for place, clip in enumerate(together):
            assert table.may_meet(clip, together[:place])
        assert asked == row[0] or absent
    counts = (draws.clips >= 0).sum(axis=1)
    assert set(counts.tolist()) == {2, 3}
    assert 0.35 < np.mean(counts == 3) < 0.65
    assert 0.2 < draws.absent.mean() < 0.4


def test_the_caption_is_one_of_the_asked_clip(small):
    table, clips = small
    draws = draw(clips)
    assert all(
        caption in table.captions_of[asked] for caption, asked in zip(draws.caption, draws.asked, strict=True)
    )
    assert len(set(draws.caption.tolist())) == len(table.captions)


def test_draws_depend_on_the_key_alone(small):
    _, clips = small
    same = jax.tree.map(np.array_equal, draw(clips, 1), draw(clips, 1))
    assert all(jax.tree.leaves(same))
    assert not np.array_equal(draw(clips, 1).clips, draw(clips, 2).clips)


@pytest.mark.parametrize("augment", [PLAIN, dataclasses.replace(PLAIN, speed_range=(0.8, 1.25))])
def test_crops_hold_active_sound_and_lie_inside_their_clips(small, augment):
    table, clips = small
    draws = draw(clips, augment=augment)
    for row in zip(
        *(a.ravel() for a in (draws.clips, draws.start, draws.offset, draws.length, draws.treatments.speed)),
        strict=True,
    ):
        number, start, offset, length, speed = row
        if number < 0:
            continue
        clip = table.clips[number]
        assert 0 <= start < clip.samples
        assert 0 <= offset <= RATE - length
        first, end = clip.active
        held = min(end, start + length * speed) - max(first, start)
        assert held / speed >= min(RATE / 2, (end - first) / speed) - 3


def test_segments_are_the_samples_of_their_clips(small):
    table, clips = small
    draws = draw(clips)
    batch = read(clips, draws)
    sounds = sounds_of(table.clips)
    expected = np.zeros((512, 3, RATE), np.float32)
    for place in np.ndindex(512, 3):
        if (clip := draws.clips[place]) >= 0:
            start, offset, length = (getattr(draws, name)[place] for name in ("start", "offset", "length"))
            expected[place][offset : offset + length] = sounds[clip][start : start + length] / 32768
    np.testing.assert_array_equal(batch["segments"], expected)
    np.testing.assert_array_equal(batch["condition"], np.eye(len(table.captions))[draws.caption])
    np.testing.assert_array_equal(batch["gains_db"], draws.gains_db)
    assert draws.gains_db.min() == -10
    assert draws.gains_db.max() == 10


def test_targets_of_absent_queries_are_silent(small):
    _, clips = small
    draws = draw(clips)
    batch = read(clips, draws)
    mixture, target = mix(
        batch["segments"], batch["gains_db"], level_db=batch["level_db"], absent=batch["absent"]
    )
    silent = np.abs(target).max(axis=1) == 0
    np.testing.assert_array_equal(silent, draws.absent)
    assert np.abs(mixture).max(axis=1).min() > 0
    assert not draw(clips, absent=0.0).absent.any()


def test_changed_sounds_are_finite_and_missing_sources_stay_silent(small):
    _, clips = small
    draws = draw(clips, augment=EVERYTHING)
    segments = np.asarray(read(clips, draws, augment=EVERYTHING)["segments"])
    assert np.isfinite(segments).all()
    np.testing.assert_array_equal(np.abs(segments).max(axis=2) > 0, draws.clips >= 0)


def test_labels_are_balanced_and_datasets_weighted():
    rows = clips_of(30, labels=6)
    often = [dataclasses.replace(clip, label="label 0", labels=()) for clip in rows[:20]]
    table = ClipTable([often, rows[20:]], MixtureConfig(collisions=()))
    shares = device_draws.clip_shares(table, (0.25, 0.75), 1.0)
    assert shares.sum() == pytest.approx(1)
    np.testing.assert_allclose(shares[:20], 0.25 / 20)
    assert shares[20:].sum() == pytest.approx(0.75)
    _, clips = on_device(rows, label_balance=0.5)
    drawn = np.bincount(draw(clips, batch_size=5000).clips[:, 0], minlength=30) / 5000
    np.testing.assert_allclose(drawn, np.exp(np.asarray(clips.log_shares)), atol=0.015)


def test_an_energy_ratio_replaces_the_gain_of_the_sum():
    mixture = MixtureConfig(snr_range_db=(-5.0, 5.0), segment_seconds=1.0)
    _, clips = on_device(clips_of(), mixture)
    draws = draw(clips, mixture=mixture)
    batch = read(clips, draws, mixture)
    assert -5 <= batch["snr_db"].min() < -4 < 4 < batch["snr_db"].max() <= 5
    assert (draws.clips >= 0).all()
    assert not jnp.any(batch["absent"])


def test_recipes_and_tables_that_cannot_be_drawn_are_refused():
    with pytest.raises(ConfigError, match="neighbours"):
        on_device(clips_of(), MixtureConfig(interferers="neighbours", segment_seconds=1.0))
    with pytest.raises(DatasetError, match="cannot be mixed"):
        on_device(clips_of(4, labels=1))
