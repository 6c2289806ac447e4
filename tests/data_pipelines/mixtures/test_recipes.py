import collections
import dataclasses
import hashlib
import itertools

import jax
import numpy as np
import pytest
from draw_texts import text_of
from test_pipeline import MIXTURE, assert_same, take

from audiosep_jax.audio.mixing import mix
from audiosep_jax.config import MixtureConfig, recipes
from data_pipelines.mixtures.clip_index import Clip
from data_pipelines.mixtures.clip_table import ClipTable
from data_pipelines.mixtures.draws import DrawSource

RATE = 100


def clips(counts):
    """Returns clips, shuffled, of which `counts[c]` have the caption c."""
    captions = np.repeat(np.arange(len(counts)), counts)
    order = np.random.default_rng(0).permutation(captions).tolist()
    return [
        Clip(id=str(n), label="", captions=(f"c{c}",), source=str(n), samples=300, active=(0, 300))
        for n, c in enumerate(order)
    ]


def source(mixture=MixtureConfig(), *, counts=(3,) * 12, batch_size=8, table=None, **options):
    mixture = dataclasses.replace(mixture, segment_seconds=1.0)
    table = table or ClipTable([clips(counts)], mixture)
    return DrawSource(table, mixture, sample_rate_hz=RATE, batch_size=batch_size, seed=5, **options)


RECIPES = {
    "many": MixtureConfig(sources=5, fewest_sources=2, absent_probability=0.2),
    "snr": MixtureConfig(sources=3, snr_range_db=(-15.0, 15.0)),
    "reference": recipes.reference(most=4),
    "kind neighbours": dataclasses.replace(
        recipes.reference(most=4), collisions=("caption",), absent_probability=0.3
    ),
}


def test_two_to_five_sources_are_equally_frequent():
    draws = source(RECIPES["many"])
    found = collections.Counter(len(draws[index].crops) for index in range(600))
    assert set(found) == {2, 3, 4, 5}
    assert min(found.values()) > 600 / 4 - 5 * np.sqrt(600 * 3 / 16)
    assert {len(draws[index].gains_db) for index in range(50)} == {5}


def test_ratios_fill_their_range():
    draws = source(RECIPES["snr"])
    ratios = [draws[index].snr_db for index in range(500)]
    assert -15 <= min(ratios) < -14
    assert 14 < max(ratios) <= 15
    assert np.mean(ratios) == pytest.approx(0, abs=5 * 30 / np.sqrt(12 * 500))
    assert len(set(ratios)) == 500
    assert {source()[index].snr_db for index in range(10)} == {None}


def test_a_ratio_changes_nothing_else_that_is_drawn():
    plain, stated = source(), source(MixtureConfig(snr_range_db=(-15.0, 15.0)))
    for index in range(50):
        assert dataclasses.replace(stated[index], snr_db=None) == plain[index]


@pytest.mark.parametrize("name", list(RECIPES))
def test_a_draw_of_any_recipe_depends_on_seed_step_and_position_alone(name):
    whole = [source(RECIPES[name])[index] for index in range(24)]
    parts = [source(RECIPES[name], process_index=index, process_count=4) for index in range(4)]
    assert [part[step * 2 + place] for step in range(3) for part in parts for place in range(2)] == whole
    draws = source(RECIPES[name])
    assert [draws[index] for index in reversed(range(24))] == whole[::-1]


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("many", "8cdd10aa5f6be96e"),
        ("snr", "8a34cc7b772f76a3"),
        ("reference", "2d017776e01eecd3"),
        ("kind neighbours", "2ab6843ce3b6ca46"),
    ],
)
def test_draws_of_the_recipes_stay_what_they_are(name, known):
    """A run that is resumed after an upgrade must get the same data: change this only knowingly."""
    draws = source(RECIPES[name])
    text = "\n".join(text_of(draws[index]) for index in (*range(30), 10**9))
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == known


@pytest.mark.parametrize("most", [2, 4])
def test_the_reference_mixes_each_clip_of_a_batch_with_the_next_ones(most):
    draws = source(recipes.reference(most=most), counts=(16,))
    assert sum(draws[index].crops[0].clip for index in range(16)) == sum(range(16))
    for step in range(4):
        batch = [draws[step * 8 + position] for position in range(8)]
        for position, draw in enumerate(batch):
            wanted = [batch[(position + i) % 8].crops[0] for i in range(len(draw.crops))]
            assert list(draw.crops) == wanted
        assert {len(draw.crops) for draw in batch} <= set(range(2, most + 1))
    assert {len(draws[index].crops) for index in range(80)} == set(range(2, most + 1))


def test_colliding_neighbours_are_skipped_and_replaced():
    # Of 36 clips 28 are alike, so that some batches have too few others.
    draws = source(RECIPES["kind neighbours"], counts=(28, 2, 2, 2, 2), batch_size=8)
    table = draws._table
    made_up = 0
    for step, position in itertools.product(range(30), range(8)):
        draw = draws.draw(step, position)
        used = [crop.clip for crop in draw.crops] + [draw.asked] * draw.absent
        captions = [table.captions_of[clip] for clip in used]
        assert len(set(captions)) == len(captions)
        targets = [draws.draw(step, (position + i) % 8).crops[0] for i in range(8)]
        may = [crop for crop in targets[1:] if table.may_meet(crop.clip, [draw.crops[0].clip])]
        made_up += not set(draw.crops[1:]) <= set(may)
        if set(draw.crops[1:]) <= set(may):
            assert draw.crops[1] == may[0]
    assert 0 < made_up < 240


def test_a_batch_of_fewer_sources_has_zeros_and_none_of_their_gains(dataset):
    mixture = dataclasses.replace(MIXTURE, sources=3, fewest_sources=2, snr_range_db=(-5.0, 5.0))
    seen = set()
    for batch in take(dataset, mixture=mixture):
        assert batch.segments.shape == (4, 3, 8000)
        assert batch.arrays["snr_db"].shape == (4,)
        assert batch.arrays["snr_db"].dtype == np.float32
        for segments, ids in zip(batch.segments, batch.ids, strict=True):
            seen.add(len(ids))
            assert segments[: len(ids)].any(axis=1).all()
            assert not segments[len(ids) :].any()
        sounding = np.delete(np.arange(4), np.flatnonzero(batch.absent))
        mixed, target = jax.jit(mix)(batch.segments, batch.gains_db, snr_db=batch.snr_db)
        rest = np.asarray(mixed, np.float64) - target
        ratio = 10 * np.log10(np.mean(np.float64(target) ** 2, -1) / np.mean(rest**2, -1))
        np.testing.assert_allclose(ratio[sounding], batch.snr_db[sounding], atol=1e-3)
    assert seen == {2, 3}


def test_threads_change_nothing_in_any_recipe(dataset):
    for mixture in (
        dataclasses.replace(MIXTURE, sources=3, fewest_sources=2, snr_range_db=(-5.0, 5.0)),
        dataclasses.replace(recipes.reference(most=3), segment_seconds=1.0),
    ):
        assert_same(take(dataset, mixture=mixture, threads=3), take(dataset, mixture=mixture))


def test_neighbours_share_the_segments_of_the_batch(dataset):
    mixture = dataclasses.replace(recipes.reference(), segment_seconds=1.0)
    for batch in take(dataset, mixture=mixture):
        np.testing.assert_array_equal(batch.segments[:, 1], np.roll(batch.segments[:, 0], -1, axis=0))
        assert [ids[1] for ids in batch.ids] == [batch.ids[(n + 1) % 4][0] for n in range(4)]
    halves = [take(dataset, mixture=mixture, process_index=index, process_count=2) for index in range(2)]
    for whole, *parts in zip(take(dataset, mixture=mixture), *halves, strict=True):
        np.testing.assert_array_equal(np.concatenate([part.segments for part in parts]), whole.segments)


def test_similarity_uses_the_conditions_of_the_pipeline(dataset):
    def conditions(captions):  # tones 0 and 1 sound alike to this tower, and so do 2 and 3
        return np.eye(2)[[int(caption[-1]) // 2 for caption in captions]]

    mixture = dataclasses.replace(MIXTURE, collisions=("similarity",), absent_probability=0.0)
    for batch in take(dataset, mixture=mixture, conditions=conditions, stop_step=20):
        for files in batch.ids:
            kinds = [int(file[:2]) % 4 // 2 for file in files]
            assert sorted(kinds) == [0, 1]
    with pytest.raises(ValueError, match=r"needs ClipTable\.with_conditions"):
        source(MixtureConfig(collisions=("similarity",)))


def collisions(draws, count, table):
    """Returns how many of the first mixtures have two clips with one caption."""
    captions = [clip.captions for clip in table.clips]
    found = 0
    for index in range(count):
        used = [captions[crop.clip][0] for crop in draws[index].crops]
        found += len(set(used)) < len(used)
    return found


def expected_share(counts):
    """Returns the share of pairs of different clips with one caption: sum n(n - 1) / N(N - 1)."""
    counts = np.asarray(counts, float)
    return float(np.sum(counts * (counts - 1)) / (counts.sum() * (counts.sum() - 1)))


ZIPF = np.maximum(1, 2_000 / np.arange(1, 2_001)).astype(int)
"""Clips per caption: some captions have hundreds of clips, most have one."""


@pytest.mark.parametrize(
    "count", [2_000, pytest.param(100_000, marks=pytest.mark.slow)], ids=["few", "a hundred thousand"]
)
def test_clips_of_one_caption_never_meet_and_without_the_rule_meet_as_often_as_by_chance(count):
    free = MixtureConfig(collisions=())
    table = ClipTable([clips(ZIPF)], free)
    found = collisions(source(free, counts=ZIPF, table=table), count, table)
    share = expected_share(ZIPF)
    assert share > 0.005
    assert abs(found - count * share) < 5 * np.sqrt(count * share)
    apart = ClipTable([clips(ZIPF)])
    assert collisions(source(counts=ZIPF, table=apart), count, apart) == 0


def test_of_five_sources_no_two_have_one_caption():
    five = MixtureConfig(sources=5)
    table = ClipTable([clips(ZIPF)], five)
    assert collisions(source(five, counts=ZIPF, table=table), 300, table) == 0
