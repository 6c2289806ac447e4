import collections
import dataclasses
import hashlib

import numpy as np
import pytest
from draw_texts import text_of
from hypothesis import given
from hypothesis import strategies as st

from audiosep_jax.config import MixtureConfig
from data_pipelines.mixtures.clip_index import Clip
from data_pipelines.mixtures.clip_table import ClipTable
from data_pipelines.mixtures.draws import DrawSource

RATE = 100
SEGMENT = 200


def clip(index, *, samples=500, active=None):
    label = f"label {index % 5}"
    return Clip(
        id=f"{index}",
        label=label,
        captions=(f"caption {index % 5}", f"another {index % 5}"),
        source=f"{index}",
        samples=samples,
        active=active or (0, samples),
    )


def source(clips=None, *, table=None, batch_size=8, seed=7, **options):
    weights = options.pop("weights", ())
    balance = options.pop("label_balance", 0.0)
    slicing = {name: options.pop(name) for name in ("process_index", "process_count") if name in options}
    mixture = MixtureConfig(**{"segment_seconds": SEGMENT / RATE, **options})
    table = table or ClipTable([clips or [clip(index) for index in range(30)]])
    return DrawSource(
        table,
        mixture,
        sample_rate_hz=RATE,
        batch_size=batch_size,
        seed=seed,
        weights=weights,
        label_balance=balance,
        **slicing,
    )


def test_a_draw_depends_on_seed_step_and_position_alone():
    one, two = source(absent_probability=0.3), source(absent_probability=0.3)
    forwards = [one[index] for index in range(100)]
    backwards = [two[index] for index in reversed(range(100))]
    assert forwards == backwards[::-1]
    assert [(draw.step, draw.position) for draw in forwards[6:10]] == [(0, 6), (0, 7), (1, 0), (1, 1)]
    assert [draw.crops for draw in forwards] != [source(seed=8)[index].crops for index in range(100)]
    assert len({(*draw.gains_db, draw.crops[0].start) for draw in forwards}) > 80


@pytest.mark.parametrize("process_count", [1, 2, 4, 8])
def test_hosts_share_the_global_batch_without_changing_it(process_count):
    whole = [source()[index] for index in range(24)]
    local = 8 // process_count
    parts = [source(process_index=index, process_count=process_count) for index in range(process_count)]
    together = [part[step * local + place] for step in range(3) for part in parts for place in range(local)]
    assert together == whole


def test_every_clip_is_a_target_once_per_epoch_in_changing_order():
    draws = source()
    epochs = [[draws[index].crops[0].clip for index in range(first, first + 30)] for first in (0, 30, 60)]
    assert all(sorted(epoch) == list(range(30)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_weights_share_targets_and_interferers_and_keep_the_epochs_of_each_dataset():
    table = ClipTable([[clip(index) for index in range(10)], [clip(index) for index in range(10, 40)]])
    mixed = source(table=table, weights=(3.0, 1.0))
    draws = [mixed[index] for index in range(1600)]
    targets = [draw.crops[0].clip for draw in draws]
    assert np.mean([target < 10 for target in targets]) == pytest.approx(0.75, abs=0.01)
    assert np.mean([draw.crops[1].clip < 10 for draw in draws]) == pytest.approx(0.75, abs=0.04)
    first = [target for target in targets if target < 10]
    second = [target for target in targets if target >= 10]
    assert sorted(first[:10]) == list(range(10))
    assert sorted(second[:30]) == list(range(10, 40))


@pytest.mark.parametrize("balance", [0.5, 1.0])
def test_labels_can_be_balanced_among_targets_and_interferers(balance):
    many = [dataclasses.replace(clip(index), label="many", captions=("many",)) for index in range(64)]
    few = [
        dataclasses.replace(clip(index), label=f"{index}", captions=(f"{index}",)) for index in range(64, 68)
    ]
    balanced = source(table=ClipTable([many + few]), label_balance=balance)
    draws = [balanced[index] for index in range(3000)]
    targets = [draw.crops[0].clip for draw in draws]
    share = 64 ** (1 - balance) / (64 ** (1 - balance) + 4)
    assert np.mean([target < 64 for target in targets]) == pytest.approx(share, abs=0.03)
    assert len(set(targets)) == 68
    of_few = [draw.crops[1].clip for draw in draws if draw.crops[0].clip == 64]
    wanted = 64 ** (1 - balance) / (64 ** (1 - balance) + 3)
    assert np.mean([other < 64 for other in of_few]) == pytest.approx(wanted, abs=0.1)
    assert [source(table=ClipTable([many + few]), label_balance=balance)[9]] == [draws[9]]


def test_gains_take_every_integer_of_the_range_one_per_interferer_and_one_for_the_sum():
    ranged = source(sources=3, gain_range_db=(-2, 3))
    draws = [ranged[index] for index in range(300)]
    assert {len(draw.gains_db) for draw in draws} == {3}
    for place in range(3):
        assert {draw.gains_db[place] for draw in draws} == {-2, -1, 0, 1, 2, 3}


def test_levels_fill_their_range():
    ranged = source(level_range_db=(-12.0, 6.0))
    levels = [ranged[index].level_db for index in range(300)]
    assert -12 <= min(levels) < -11
    assert 5 < max(levels) <= 6
    assert {source()[index].level_db for index in range(20)} == {0.0}


@pytest.mark.parametrize("sources", [2, 3])
def test_sources_never_share_a_label_and_the_caption_is_the_target_s(sources):
    draws = source(sources=sources)
    table = ClipTable([[clip(index) for index in range(30)]])
    used = collections.Counter()
    for index in range(300):
        draw = draws[index]
        labels = [crop.clip % 5 for crop in draw.crops]
        assert len(set(labels)) == sources
        assert not draw.absent
        assert draw.caption in table.captions_of[draw.crops[0].clip]
        used[draw.caption] += 1
    assert len(used) == 10  # both captions of each label


def test_absent_captions_belong_to_none_of_the_sources():
    table = ClipTable([[clip(index) for index in range(30)]])
    sometimes = source(absent_probability=0.25)
    draws = [sometimes[index] for index in range(800)]
    assert np.mean([draw.absent for draw in draws]) == pytest.approx(0.25, abs=0.05)
    for draw in draws:
        assert len(draw.crops) == 2
        named = {int(table.captions[draw.caption][-1])} & {crop.clip % 5 for crop in draw.crops}
        assert bool(named) != draw.absent


@given(
    samples=st.integers(1, 1200),
    begin=st.floats(0, 1),
    length=st.floats(0, 1),
    step=st.integers(0, 2**40),
)
def test_a_crop_lies_in_its_clip_and_holds_active_sound(samples, begin, length, step):
    first = int(begin * (samples - 1))
    end = first + max(1, int(length * (samples - first)))
    clips = [clip(index, samples=samples, active=(first, end)) for index in range(10)]
    for crop in source(clips).draw(step, 3).crops:
        assert 0 <= crop.start < crop.stop <= samples
        assert crop.stop - crop.start == min(samples, SEGMENT)
        assert 0 <= crop.offset <= SEGMENT - (crop.stop - crop.start)
        overlap = min(end, crop.stop) - max(first, crop.start)
        assert overlap >= min(RATE // 2, end - first)


def test_short_clips_begin_anywhere_and_long_ones_are_cut_anywhere():
    short = source([clip(index, samples=150) for index in range(10)])
    offsets = {short.draw(step, 0).crops[0].offset for step in range(1000)}
    assert offsets == set(range(51))
    long = source([clip(index, samples=250) for index in range(10)])
    starts = {long.draw(step, 0).crops[0].start for step in range(1000)}
    assert starts == set(range(51))


def test_draws_stay_what_they_are():
    """A run that is resumed after an upgrade must get the same data: change this only knowingly."""
    draws = source(sources=3, absent_probability=0.2, level_range_db=(-6.0, 6.0))
    # What came later stands behind, and follows from the same draws.
    before = (text_of(draws[index]).partition(", asked=")[0] + ")" for index in (*range(50), 10**9))
    text = "\n".join(before)
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "f474d3c9f12cd33d"


def test_64_draws_of_a_seed_stay_what_they_are():
    """As above, with every field of a draw."""
    draws = source(sources=3, absent_probability=0.2, level_range_db=(-6.0, 6.0), seed=11)
    text = "\n".join(text_of(draws[index]) for index in range(64))
    known = "c2cb6ea924dca9d212e373e1601d15c85c3970687d3d5f1946e285204d043e83"
    assert hashlib.sha256(text.encode()).hexdigest() == known
