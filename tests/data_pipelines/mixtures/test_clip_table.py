import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audiosep_jax.config import MixtureConfig
from audiosep_jax.errors import AudioSepError
from data_pipelines.mixtures.clip_index import Clip
from data_pipelines.mixtures.clip_table import ClipTable


def clip(name, *, label="", captions=("x",), source=""):
    return Clip(
        id=name, label=label, captions=tuple(captions), source=source or name, samples=10, active=(0, 10)
    )


def conflict(one, two):
    """A second, simple implementation of the rule."""
    same_label = one.label.lower().replace("_", " ") == two.label.lower().replace("_", " ")
    captions = [{caption.lower() for caption in clip.captions} for clip in (one, two)]
    return bool((one.label and same_label) or captions[0] & captions[1] or one.source == two.source)


clips = st.builds(
    clip,
    st.just("c"),
    label=st.sampled_from(["", "dog", "Dog", "sea_waves", "sea waves", "rain"]),
    captions=st.lists(st.sampled_from(["a", "b", "C", "c", "d"]), max_size=2, unique=True),
    source=st.sampled_from(["r", "s", "t", "u"]),
)


@given(st.lists(st.lists(clips, max_size=4), min_size=1, max_size=2).filter(any), st.integers(2, 4))
@settings(deadline=None, max_examples=200)
def test_check_refuses_exactly_the_tables_that_cannot_be_mixed(datasets, together):
    table = ClipTable(datasets)

    def can_be_mixed(first):
        others = [other for other in range(len(table.clips)) if other != first]
        return any(
            not any(conflict(table.clips[a], table.clips[b]) for a, b in itertools.combinations(group, 2))
            for rest in itertools.combinations(others, together - 1)
            for group in [(first, *rest)]
        )

    if not all(can_be_mixed(first) for first in range(len(table.clips))):
        with pytest.raises(AudioSepError, match="cannot be mixed"):
            table.check(together)
        return
    table.check(together)
    rng = np.random.default_rng(0)
    for target in range(len(table.clips)):
        chosen = table.companions(
            target, count=together - 1, rng=rng, pick=lambda rng: int(rng.integers(len(table.clips)))
        )
        assert len(chosen) == together - 1
        group = [table.clips[index] for index in (target, *chosen)]
        assert not any(conflict(a, b) for a, b in itertools.combinations(group, 2))


def test_a_picker_that_never_proposes_a_partner_does_not_stop_the_draw():
    table = ClipTable([[clip("a", captions="x"), clip("b", captions="x"), clip("c", captions="y")]])
    rng = np.random.default_rng(0)
    assert table.companions(0, count=1, rng=rng, pick=lambda rng: 1) == [2]


def test_the_error_names_the_clip_with_too_few_partners():
    table = ClipTable([[clip("a", captions=("x", "y")), clip("b", captions="x"), clip("c", captions="y")]])
    with pytest.raises(AudioSepError, match="The clip a has fewer than 1 others"):
        table.check(2)


def test_many_clips_of_one_class_are_checked_quickly():
    speech = [clip(f"s{i}", label="speech", captions=[f"sentence {i}"]) for i in range(20_000)]
    table = ClipTable([speech, [clip("dog", label="dog"), clip("cat", label="cat", captions="y")]])
    table.check(3)
    with pytest.raises(AudioSepError, match="has fewer than 3 others"):
        table.check(4)


def test_captions_are_numbered_in_order():
    table = ClipTable([[clip("a", captions=("z", "b"))], [clip("b", captions=("a", "z"))]])
    assert table.captions == ["a", "b", "z"]
    assert table.captions_of == [(2, 1), (0, 2)]
    assert table.sizes == (1, 1)


@given(st.lists(clips, min_size=1, max_size=6))
@settings(deadline=None, max_examples=100)
def test_all_pairs_at_once_are_those_that_may_meet_one_by_one(one_dataset):
    table = ClipTable([one_dataset])
    numbers = range(len(one_dataset))
    expected = [[table.may_meet(first, [second]) for second in numbers] for first in numbers]
    np.testing.assert_array_equal(table.meetings(), expected)


def test_all_pairs_at_once_with_similar_captions():
    mixture = MixtureConfig(collisions=("caption", "similarity"), similarity=0.9)
    table = ClipTable([[clip(str(number), captions=(f"c{number}",)) for number in range(3)]], mixture)
    table = table.with_conditions(np.array([[1, 0], [1, 0.1], [0, 1]], np.float32))
    np.testing.assert_array_equal(
        table.meetings(), [[False, False, True], [False, False, True], [True, True, False]]
    )
