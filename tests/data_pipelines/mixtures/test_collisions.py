import dataclasses
import itertools
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_ontology import CLASSES, write

from audiosep_jax.config import MixtureConfig
from audiosep_jax.errors import AudioSepError
from data_pipelines.mixtures.clip_index import Clip
from data_pipelines.mixtures.clip_table import ClipTable


def clip(name, *, label="", labels=(), captions=(), source="", also=()):
    return Clip(
        id=name,
        label=label,
        labels=tuple(labels),
        captions=tuple(captions),
        source=source or name,
        samples=10,
        active=(0, 10),
        also=tuple(also),
    )


@pytest.fixture(scope="module")
def ontology(tmp_path_factory):
    return str(write(tmp_path_factory.mktemp("ontology") / "ontology.json", CLASSES))


def meet(one, two, conditions=None, **options):
    """Returns whether two clips may meet under some rules, and checks that the order does not matter."""
    table = ClipTable([[one, two]], MixtureConfig(**options))
    if conditions is not None:
        table = table.with_conditions(np.float32(conditions))
    assert table.may_meet(0, [1]) == table.may_meet(1, [0])
    return table.may_meet(0, [1])


@pytest.mark.parametrize(
    ("rules", "apart"),
    [
        ((), {}),
        (("caption",), {"caption"}),
        (("label",), {"label", "labels"}),
        (("caption", "label"), {"caption", "label", "labels"}),
    ],
)
def test_each_rule_looks_at_its_own_names(rules, apart):
    pairs = {
        "caption": (clip("a", captions=["A dog", "x"]), clip("b", captions=["y", "a  DOG"])),
        "label": (clip("a", label="sea_waves", captions="x"), clip("b", label="Sea waves", captions="y")),
        "labels": (
            clip("a", label="Dog", labels=["Dog", "Bark"], captions="x"),
            clip("b", label="Animal", labels=["Animal", "bark"], captions="y"),
        ),
        "nothing": (clip("a", label="dog", captions="x"), clip("b", label="cat", captions="y")),
    }
    for name, pair in pairs.items():
        assert meet(*pair, collisions=rules) == (name not in apart), name


def test_without_rules_all_clips_meet_except_a_clip_and_itself():
    table = ClipTable([[clip("a", source="r"), clip("b", source="r")]], MixtureConfig(collisions=()))
    assert table.may_meet(0, [1])
    assert not table.may_meet(0, [0])
    table.check(2)
    assert table.companions(0, count=1, rng=np.random.default_rng(0), pick=lambda rng: 0) == [1]
    with pytest.raises(AudioSepError, match=r"The clip . has fewer than 2 others at all among the 2 clips"):
        table.check(3)


@pytest.mark.parametrize("rule", ["caption", "label", "similarity"])
@pytest.mark.parametrize("captions", ["", "y"], ids=["not described", "described otherwise"])
def test_any_rule_keeps_the_clips_of_a_recording_apart(rule, captions):
    one, two = clip("a", source="r", captions=captions), clip("b", source="r", captions="x")
    conditions = np.eye(1 + bool(captions))
    assert not meet(one, two, conditions, collisions=(rule,))
    assert meet(two, clip("c", source="s", captions=captions), conditions, collisions=(rule,))
    # Also where each corpus has one of them.
    table = ClipTable([[one], [two]], MixtureConfig(collisions=(rule,)))
    assert not table.with_conditions(np.float32(conditions)).may_meet(0, [1])


names = st.sampled_from(["Animal", "Domestic_animals_and_pets", "dog", "Bark", "/m/2", "roar", "cat", ""])
labelled = st.builds(
    lambda label, labels, captions: clip("c", label=label, labels=labels, captions=captions),
    names,
    st.lists(names, max_size=3),
    st.lists(st.sampled_from("xyz"), min_size=1, max_size=1),
)
IDS = {
    "animal": ["/m/0"],
    "domestic_animals_and_pets": ["/m/1"],
    "dog": ["/m/3"],
    "bark": ["/m/4"],
    "/m/2": ["/m/2"],
    "roar": ["/m/5", "/m/7"],
    "cat": ["cat"],
}


def below(one):
    """Returns a class and all classes below it, from the children in the file."""
    return {one}.union(*(below(child) for child in CLASSES.get(one, ("", []))[1]))


def conflict(one, two, *, rules, specific=False):
    """A second, simple implementation of the rules."""
    held = []
    for each in (one, two):
        ids = {id for label in (each.label, *each.labels) if label for id in IDS[label.lower()]}
        if specific:
            ids -= {id for id in ids if any(other in below(id) for other in ids - {id})}
        held.append(ids)
    first, second = held
    ontology = any(b in below(a) or a in below(b) for a, b in itertools.product(first, second))
    same_caption = bool(set(one.captions) & set(two.captions))
    return ("ontology" in rules and ontology) or ("caption" in rules and same_caption)


@given(clips=st.lists(labelled, min_size=2, max_size=6), together=st.integers(2, 4), specific=st.booleans())
@settings(deadline=None, max_examples=100)
def test_the_ontology_keeps_ancestors_apart_and_check_refuses_impossible_tables(
    ontology, clips, together, specific
):
    clips = [dataclasses.replace(one, source=str(number)) for number, one in enumerate(clips)]
    rules = ("caption", "ontology")
    mixture = MixtureConfig(collisions=rules, ontology=ontology, specific_labels=specific)
    if not any(label and label != "cat" for clip in clips for label in (clip.label, *clip.labels)):
        with pytest.raises(AudioSepError, match="no clip has a class of"):
            ClipTable([clips], mixture)
        return
    table = ClipTable([clips], mixture)
    count = range(len(clips))
    apart = {
        pair: not conflict(clips[pair[0]], clips[pair[1]], rules=rules, specific=specific)
        for pair in itertools.permutations(count, 2)
    }
    assert {pair: table.may_meet(pair[0], [pair[1]]) for pair in apart} == apart
    check_all_or_nothing(table, together, apart)


def check_all_or_nothing(table, together, apart):
    """`check` passes exactly if every clip is in a group; then every draw has one."""
    count = range(len(table.clips))
    groups = [
        set(group)
        for group in itertools.combinations(count, together)
        if all(apart[pair] for pair in itertools.combinations(group, 2))
    ]
    if not all(any(one in group for group in groups) for one in count):
        with pytest.raises(AudioSepError, match="cannot be mixed"):
            table.check(together)
        return
    table.check(together)
    rng = np.random.default_rng(0)
    for target in count:
        for pick in (lambda rng: int(rng.integers(len(table.clips))), lambda rng, target=target: target):
            chosen = table.companions(target, count=together - 1, rng=rng, pick=pick)
            assert {target, *chosen} in groups


def test_labels_that_fsd50k_writes_with_all_ancestors(ontology):
    dog = clip("a", label="Bark", labels=["Bark", "Dog", "Animal"], captions="x")
    lion = clip("b", label="Roar", labels=["Roar", "Wild_animals", "Animal"], captions="y")
    beast = clip("c", label="Animal", captions="z")
    for rules in (("label",), ("ontology",), ("label", "ontology")):
        specific = {"collisions": rules, "ontology": ontology, "specific_labels": True}
        assert meet(dog, lion, **specific)
        if rules != ("label",):
            assert not meet(dog, lion, collisions=rules, ontology=ontology)
            assert not meet(dog, beast, **specific)
    assert not meet(dog, lion, collisions=("label",))


@given(
    angles=st.lists(st.lists(st.integers(0, 11), max_size=3), min_size=2, max_size=6),
    limit=st.sampled_from([0.3, 0.6, 0.9]),
    together=st.integers(2, 4),
)
@settings(deadline=None, max_examples=60)
def test_similar_captions_keep_clips_apart(angles, limit, together):
    clips = [clip(str(n), captions=[f"{angle:02}" for angle in own]) for n, own in enumerate(angles)]
    table = ClipTable([clips], MixtureConfig(collisions=("similarity",), similarity=limit))
    assert table.lacks_conditions
    radians = np.array([int(caption) for caption in table.captions]) * np.pi / 6
    lengths = 1 + np.arange(len(radians))  # a cosine does not depend on them
    table = table.with_conditions(
        np.float32(np.stack([np.cos(radians), np.sin(radians)], 1) * lengths[:, None])
    )
    assert not table.lacks_conditions
    apart = {
        (one, two): all(np.cos((a - b) * np.pi / 6) <= limit for a in angles[one] for b in angles[two])
        for one, two in itertools.permutations(range(len(clips)), 2)
    }
    assert {pair: table.may_meet(pair[0], [pair[1]]) for pair in apart} == apart
    check_all_or_nothing(table, together, apart)


def test_rules_can_be_combined():
    pair = (clip("a", label="dog", captions="x"), clip("b", label="cat", captions="y"))
    near, far = [[1, 0], [1, 0.1]], [[1, 0], [0, 1]]
    assert meet(*pair, far, collisions=("caption", "label", "similarity"))
    assert not meet(*pair, near, collisions=("caption", "label", "similarity"))
    assert meet(*pair, near, collisions=("caption", "label"))
    assert not meet(pair[0], clip("c", label="Dog", captions="z"), far, collisions=("label", "similarity"))


def test_a_clip_that_is_too_similar_to_all_is_named_with_the_rules():
    clips = [clip("lonely", captions="b"), clip("low", captions="a"), clip("high", captions="c")]
    radians = np.array([0, 0.25, 0.5]) * np.pi
    conditions = np.float32(np.stack([np.cos(radians), np.sin(radians)], 1))
    mixture = MixtureConfig(collisions=("caption", "similarity"), similarity=0.7)
    table = ClipTable([clips], mixture).with_conditions(conditions)
    said = (
        r"The clip lonely has fewer than 1 others with other captions, with captions of a cosine up to 0\.7"
    )
    with pytest.raises(AudioSepError, match=said):
        table.check(2)


def test_a_hopeless_search_among_many_similar_captions_ends():
    # Captions in two bundles: of three clips, two are always of one bundle.
    rng = np.random.default_rng(0)
    clips = [clip(str(n), captions=[f"{n:05}"]) for n in range(5_000)]
    conditions = np.eye(32)[np.arange(len(clips)) % 2] + 0.01 * rng.standard_normal((len(clips), 32))
    mixture = MixtureConfig(collisions=("similarity",), similarity=0.5)
    table = ClipTable([clips], mixture).with_conditions(np.float32(conditions))
    table.check(2)
    began = time.process_time()
    with pytest.raises(AudioSepError, match="cannot be mixed"):
        table.check(3)
    assert time.process_time() - began < 20


def test_a_table_of_many_captions_holds_no_matrix_of_them():
    rng = np.random.default_rng(0)
    clips = [clip(str(n), captions=[f"{n:05}"]) for n in range(20_000)]
    table = ClipTable([clips], MixtureConfig(collisions=("similarity",), similarity=0.8))
    conditions = rng.standard_normal((len(clips), 16)).astype(np.float32)
    tracemalloc.start()
    table.with_conditions(conditions).check(5)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < len(clips) ** 2 / 10  # bytes; a matrix of bools would take ten times that


def test_an_ontology_of_other_data_is_refused(ontology):
    mixture = MixtureConfig(collisions=("ontology",), ontology=ontology)
    with pytest.raises(
        AudioSepError, match=r"no clip has a class of .*ontology\.json \(their 1 labels are not"
    ):
        ClipTable([[clip("a", label="violin")]], mixture)
    with pytest.raises(AudioSepError, match=r"\(they have no label\)"):
        ClipTable([[clip("a", captions="x")]], mixture)


def test_overlapping_labels_are_apart_and_their_neighbours_are_not():
    music = clip("a", label="music", also=["Piano", "violin"])
    piano, violin = clip("b", label="piano", also=["music"]), clip("c", label="violin", also=["music"])
    assert not meet(music, piano, collisions=("label",))
    assert not meet(violin, music, collisions=("label",))
    assert meet(piano, violin, collisions=("label",))
    assert meet(music, piano, collisions=("caption",))
