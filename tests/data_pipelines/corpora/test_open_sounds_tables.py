import collections

import pytest

from data_pipelines.corpora.open_sounds import captions, instruments, licences, table

KINDS = {"speech", "music", "animals", "nature", "machines", "impacts", "other"}


def test_every_clip_is_complete():
    names = [clip.clip for clip in table.clips()]
    assert len(set(names)) == len(names) > 4_500
    assert names == sorted(names)
    for clip in table.clips():
        assert clip.label in table.labels()
        assert clip.package in table.packages()
        assert clip.split in ("train", "heldout")
        assert 0.2 <= clip.seconds <= 12.1
        assert clip.start >= 0
        assert len(clip.check) == 8
        assert clip.licence
        assert all(caption.strip() == caption for caption in clip.captions)
    assert {clip.package for clip in table.clips()} == table.packages().keys()


def test_splits_share_no_recording():
    splits = collections.defaultdict(set)
    for clip in table.clips():
        for member in clip.members:
            splits[clip.package, member].add(clip.split)
    assert all(len(found) == 1 for found in splits.values())


def test_evaluation_recordings_of_the_demo_are_left_out():
    members = {member for clip in table.clips() for member in clip.members}
    for name in ("StereoRain.ogg", "WindLoop.ogg", "BirdsLoop.ogg", "Thunder2.ogg", "Thunder4.ogg"):
        assert not any(member.endswith(f"/{name}") for member in members)


def test_every_label_has_wordings_and_symmetric_overlaps():
    labels = table.labels()
    for name, label in labels.items():
        assert label.kind in KINDS
        assert 5 <= len(label.captions) <= 8
        assert len(label.heldout_captions) == 2
        words = [caption.lower() for caption in (*label.captions, *label.heldout_captions)]
        assert len(set(words)) == len(words)
        assert name not in label.also
        assert all(name in labels[other].also for other in label.also)
    instruments_of_music = {name for name, label in labels.items() if label.kind == "music"} - {"music"}
    assert instruments_of_music <= set(labels["music"].also)


def test_a_wording_of_two_labels_means_that_they_overlap():
    owners = collections.defaultdict(set)
    for name, label in table.labels().items():
        for caption in (*label.captions, *label.heldout_captions):
            owners[caption.lower()].add(name)
    for names in owners.values():
        first, *others = sorted(names)
        assert set(others) <= set(table.labels()[first].also)


def test_heldout_wordings_are_no_training_captions():
    heldout = {caption.lower() for label in table.labels().values() for caption in label.heldout_captions}
    training = {caption.lower() for label in table.labels().values() for caption in label.captions}
    training |= {caption.lower() for clip in table.clips() for caption in clip.captions}
    assert not heldout & training


def test_every_rendered_label_has_a_part():
    rendered = {clip.label for clip in table.clips() if clip.program}
    assert rendered <= instruments.PARTS.keys() | instruments.DRUMS.keys()


def test_every_licence_is_of_a_family():
    for licence in {clip.licence for clip in table.clips()}:
        assert licences.allows(licence, licences.FAMILIES), licence


@pytest.mark.parametrize(
    ("licence", "chosen", "allowed"),
    [
        ("CC-BY-3.0 or CC0", ["by"], True),
        ("CC-BY-SA-3.0 and GPL-2", ["by-sa"], False),
        ("CC-BY-SA-3.0 and GPL-2", ["by-sa", "gpl"], True),
        ("CC-BY-SA-3.0", ["by"], False),
        ("GPL-2+ with composition exception", ["gpl"], True),
        ("CC0-1.0", ["CC0"], True),
        ("CC-BY-SA-3.0", ["cc-by-sa-3.0"], True),
    ],
)
def test_licences_are_understood(licence, chosen, allowed):
    assert licences.allows(licence, chosen) == allowed


def test_captions_of_two_sounds_name_both():
    found = captions.of_two("piano", "rain", count=5)
    assert len(set(found)) == 5
    assert found == captions.of_two("piano", "rain", count=5)
    for caption in found:
        assert any(word in caption for word in table.labels()["piano"].captions)
        assert any(word in caption for word in table.labels()["rain"].captions)
    (heldout,) = captions.of_two("piano", "rain", count=1, heldout=True)
    assert any(word in heldout for word in table.labels()["rain"].heldout_captions)
