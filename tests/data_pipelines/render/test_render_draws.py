"""The draws of a rendered corpus."""

import collections
import hashlib

import pytest

from audiosep_jax.errors import AudioSepError
from data_pipelines.render.draws import draw_plan, may_meet
from data_pipelines.render.recipe import Clip, Recipe

CLIPS = [
    Clip(
        file=f"{label}{n}.wav",
        labels=(label,),
        captions=(f"{label} {n}", f"{label} again {n}"),
        recording=f"{label}{n}",
    )
    for label, count in (("a", 1), ("b", 2), ("c", 9), ("d", 3))
    for n in range(count)
]


def test_classes_and_clips_take_turns():
    draws = draw_plan(CLIPS, Recipe(per_class=18, sources=(2, 3), snrs_db=(-5, 0, 5)))
    assert [draw.index for draw in draws] == list(range(72))
    targets = collections.Counter(draw.clips[0] for draw in draws)
    assert [targets[place] for place in range(3, 12)] == [2] * 9  # nine clips of c, 18 mixtures
    assert collections.Counter(len(draw.clips) for draw in draws) == {2: 36, 3: 36}
    assert collections.Counter(draw.snr_db for draw in draws) == {-5: 24, 0: 24, 5: 24}
    others = collections.Counter(CLIPS[place].labels[0] for draw in draws for place in draw.clips[1:])
    assert min(others.values()) > 0.6 * max(others.values()), others  # a class of one clip is heard as often


@pytest.mark.parametrize(
    ("changes", "known"),
    [
        (
            {"count": 64, "sources": (2, 3), "snr_range_db": (-10, 10)},
            "c6215fceeb9162742545787924e435d603e472c24897443732fd436ff3f7a122",
        ),
        (
            {"per_class": 16, "sources": (2, 3, 4), "snrs_db": (-5, 0, 5)},
            "da667bf1f946ca5e7e83e1fef2abe7db4a2f86aac0eb3b053dbaae845c2a151a",
        ),
    ],
)
def test_64_draws_of_a_seed_stay_what_they_are(changes, known):
    """The corpora of a recipe are the same for everyone: change this only knowingly."""
    draws = draw_plan(CLIPS, Recipe(seed=3, **changes))
    assert len(draws) == 64
    assert hashlib.sha256(repr(draws).encode()).hexdigest() == known


def test_no_two_sounds_share_a_class_a_caption_or_a_recording():
    for draw in draw_plan(CLIPS, Recipe(count=200, sources=(4,))):
        labels = [CLIPS[place].labels[0] for place in draw.clips]
        assert len(set(labels)) == 4


@pytest.mark.parametrize(
    ("other", "may"),
    [
        (Clip(file="y", labels=("Dog_Bark",), captions=("a",), recording="2"), False),
        (Clip(file="y", labels=("cat", "dog bark"), captions=("a",), recording="2"), False),
        (Clip(file="y", labels=("cat",), captions=("Rain  falls",), recording="2"), False),
        (Clip(file="y", labels=("cat",), captions=("a",), recording="1"), False),
        (Clip(file="x", labels=("cat",), captions=("a",)), False),
        (Clip(file="y", labels=("cat",), captions=("a",), recording="2"), True),
        (Clip(file="y"), True),
    ],
)
def test_clips_may_meet_unless_they_share_something(other, may):
    one = Clip(file="x", labels=("dog bark", "rain"), captions=("rain falls",), recording="1")
    assert may_meet(one, other) is may_meet(other, one) is may


def test_the_same_recipe_draws_the_same_and_another_seed_does_not():
    first = draw_plan(CLIPS, Recipe(count=50, snr_range_db=(-10, 10)))
    assert first == draw_plan(CLIPS, Recipe(count=50, snr_range_db=(-10, 10)))
    assert first != draw_plan(CLIPS, Recipe(count=50, snr_range_db=(-10, 10), seed=1))
    levels = [draw.snr_db for draw in first]
    assert min(levels) >= -10
    assert max(levels) <= 10
    assert max(levels) - min(levels) > 10
    assert (
        collections.Counter(draw.clips[0] for draw in first).most_common(1)[0][1] <= 4
    )  # 15 clips, 50 turns


@pytest.mark.parametrize(
    ("clips", "changes", "sentence"),
    [
        (CLIPS[:1], {}, "two clips or more"),
        (
            [*CLIPS, Clip(file="z", labels=("z",))],
            {},
            "1 of 16 clips have no caption, such as z: leave them out",
        ),
        (
            [*CLIPS, Clip(file="z", captions=("z",))],
            {"query": "label"},
            "1 of 16 clips have no label, such as z",
        ),
        ([Clip(file="y", captions=("y",)), Clip(file="z", captions=("z",))], {}, "no classes"),
        (CLIPS[1:3], {}, "b1.wav can be mixed with no other clip|b0.wav can be mixed with no other clip"),
        (CLIPS, {"sources": (5,)}, "can be mixed with no other clip.*ask for fewer sounds"),
    ],
)
def test_clips_that_cannot_be_drawn_are_refused(clips, changes, sentence):
    with pytest.raises(AudioSepError, match=sentence):
        draw_plan(clips, Recipe(**({"per_class": 1} | changes)))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"per_class": 0}, "give one of the two numbers"),
        ({"count": 3}, "give one of the two numbers"),
        ({"per_class": -1, "count": 3}, "give one of the two numbers"),
        ({"sources": (1,)}, "mixtures of 1 sounds: give 2 to 5"),
        ({"sources": ()}, "mixtures of no sounds"),
        ({"snrs_db": ()}, "range of SNRs"),
        ({"snr_range_db": (5.0, 0.0)}, "5, 0 dB for the range of SNRs: give the lowest and the highest"),
        ({"snrs_db": (float("nan"),)}, "SNRs of nan dB"),
        ({"snr_range_db": (float("nan"), 1.0)}, "SNRs? of"),
        ({"sample_rate_hz": 10}, "sample rate of 10 Hz"),
        ({"seconds": 0.0}, "mixtures of 0.0 s"),
        ({"seconds": float("inf")}, "mixtures of inf s"),
        ({"seed": -1}, "seed -1"),
    ],
)
def test_invalid_recipes_are_refused(changes, sentence):
    with pytest.raises(AudioSepError, match=sentence):
        Recipe(**({"per_class": 1} | changes))
