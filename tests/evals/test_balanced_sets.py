import collections
import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from evals_sounds import RATE, sound

from audiosep_jax.audio.writing import write_audio
from audiosep_jax.errors import AudioSepError
from audiosep_jax.evals.balanced_set_builder import make_balanced_set, paraphrased
from audiosep_jax.evals.evaluation_set import (
    check_files,
    find_file,
    load_evaluation_set,
    render_entries,
    save_evaluation_set,
)
from audiosep_jax.evals.evaluation_set_builder import Clip
from experiments.evaluation import make_open_sounds

COMMITTED = Path(make_open_sounds.__file__).parent
# Labels of three kinds with these numbers of clips.
COUNTS = {"a1": 6, "a2": 6, "a3": 1, "b1": 2, "b2": 1, "c1": 9, "c2": 4, "c3": 3}
KINDS = {label: label[0] for label in COUNTS}
CAPTIONS = {label: (f"{label} one", f"{label} two") for label in COUNTS}
OVERLAPS = {"a1": ["c1"], "c2": ["a2", "unknown"]}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("balanced")
    for label, count in COUNTS.items():
        for number in range(count):
            waveform = sound("tone", number, seconds=0.8)
            write_audio(root / f"{label}_{number}.flac", waveform, sample_rate_hz=RATE)
    return root


def clips():
    return [
        Clip(file=f"{label}_{number}", label=label)
        for label, count in COUNTS.items()
        for number in range(count)
    ]


def balanced(root, given=None, **changes):
    values = {
        "name": "balanced",
        "root": root,
        "captions": CAPTIONS,
        "kinds": KINDS,
        "overlaps": OVERLAPS,
        "mixtures": 24,
        "absent_mixtures": 9,
        "seconds": 0.5,
        "sample_rate_hz": RATE,
    }
    return make_balanced_set(clips() if given is None else given, **(values | changes))


def test_the_same_clips_give_the_same_bytes_in_any_order(root, tmp_path):
    for name, given in [("one", clips()), ("two", clips()[::-1])]:
        save_evaluation_set(balanced(root, given), tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert load_evaluation_set(tmp_path / "one") == balanced(root)
    assert balanced(root) != balanced(root, seed=1)


def test_kinds_are_equal_as_far_as_the_clips_allow(root):
    present = [entry for entry in balanced(root).entries if not entry.is_absent]
    assert len(present) == 24
    of_kind = collections.Counter(KINDS[entry.target.label] for entry in present)
    # b has three recordings, each the target at most twice.
    assert of_kind == {"a": 9, "b": 6, "c": 9}
    for side in ("target", "interferer"):
        sources = [getattr(entry, side) for entry in present]
        assert max(collections.Counter(source.label for source in sources).values()) <= 5
        assert max(collections.Counter(source.file for source in sources).values()) <= 2
    assert collections.Counter(entry.target.label for entry in present) == collections.Counter(
        entry.interferer.label for entry in present
    )


def test_overlapping_labels_never_meet_and_are_never_called_absent(root):
    pairs = {frozenset((label, other)) for label, others in OVERLAPS.items() for other in others}
    for entry in balanced(root).entries:
        target, interferer = entry.target.label, entry.interferer.label
        assert target != interferer
        assert frozenset((target, interferer)) not in pairs
        assert entry.caption in CAPTIONS[target]
        if entry.is_absent:
            (asked,) = (label for label, captions in CAPTIONS.items() if entry.query in captions)
            assert asked not in (target, interferer)
            assert not {frozenset((asked, target)), frozenset((asked, interferer))} & pairs


def test_clips_of_one_recording_and_label_are_one_clip_and_never_meet(root):
    recordings = {**dict.fromkeys(("a1_0", "a1_1", "a1_2"), "x"), **dict.fromkeys(("a2_0", "c1_0"), "y")}
    given = [dataclasses.replace(clip, recording=recordings.get(clip.file, "")) for clip in clips()]
    files = set()
    for seed in range(6):
        made = balanced(root, given, seed=seed)
        pairs = [{entry.target.file, entry.interferer.file} for entry in made.entries]
        assert not any(pair == {"a2_0", "c1_0"} for pair in pairs)
        used = set().union(*pairs)
        assert len(used & {"a1_0", "a1_1", "a1_2"}) <= 1
        files |= used
    assert {"a1_0", "a1_1", "a1_2"} & files
    with pytest.raises(AudioSepError, match=r"no clip of class .* from another recording than"):
        balanced(root, [dataclasses.replace(clip, recording="one") for clip in clips()], mixtures=6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mixtures": 1000}, "shall have 1000 mixtures, but its clips allow only 33"),
        ({"captions": {"a1": ("one",)}}, "no caption or no kind for a2, a3"),
        (
            {"kinds": {**KINDS, "b1": "b"} | {"x": "y"}, "overlaps": {"a1": list(COUNTS)}},
            "finds no partners for a1",
        ),
    ],
)
def test_sets_that_cannot_be_are_refused(root, change, message):
    with pytest.raises(AudioSepError, match=message):
        balanced(root, **change)


def test_paraphrases_are_the_same_mixtures_with_other_queries(root):
    made = balanced(root)
    other = {label: (f"{label} three",) for label in COUNTS}
    again = paraphrased(made, other, name="other")
    present = [entry for entry in made.entries if not entry.is_absent]
    assert [dataclasses.replace(entry, caption="") for entry in again.entries] == [
        dataclasses.replace(entry, caption="") for entry in present
    ]
    assert all(entry.query == f"{entry.target.label} three" for entry in again.entries)
    assert again.kinds == made.kinds
    with pytest.raises(AudioSepError, match="no caption for a1"):
        paraphrased(made, {}, name="other")


def test_a_name_without_a_suffix_is_a_sound_in_any_format(root, tmp_path):
    made = balanced(root)
    check_files(made, root)
    for path in root.glob("*.flac"):
        waveform = sound("tone", int(path.stem.split("_")[1]), seconds=0.8)
        write_audio(tmp_path / f"{path.stem}.wav", waveform, sample_rate_hz=RATE)
    check_files(made, tmp_path)
    for one, other in zip(
        render_entries(made, made.entries, root=root),
        render_entries(made, made.entries, root=tmp_path),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, atol=1e-4)
    assert find_file(root, "a1_0") == find_file(root, "a1_0.flac") == root / "a1_0.flac"
    assert find_file(root, "a1_0.wav") is None


def test_every_label_of_a_set_with_kinds_has_one(root):
    made = balanced(root)
    with pytest.raises(AudioSepError, match="no kind for a1"):
        dataclasses.replace(made, kinds={label: kind for label, kind in KINDS.items() if label != "a1"})


def test_the_script_draws_its_sets_from_a_table(root, tmp_path):
    labels = {
        label: {
            "kind": make_open_sounds.KINDS["abc".index(kind)],
            "captions": CAPTIONS[label],
            "heldout_captions": [f"{label} three"],
            "also": [],
        }
        for label, kind in KINDS.items()
    }
    (tmp_path / "labels.json").write_text(json.dumps(labels), "utf-8")
    rows = [f"{clip.file},{clip.label},p,{clip.file}.ogg,heldout" for clip in clips()]
    rows.append("train_0,a1,p,train.ogg,train")
    (tmp_path / "clips.csv").write_text("\n".join(["clip,label,package,members,split", *rows]), "utf-8")
    (tmp_path / "candidates.txt").write_text("\n".join(clip.file for clip in clips()), "utf-8")
    arguments = make_open_sounds.MakeArgs(
        root=root,
        out=tmp_path / "out",
        table=tmp_path / "clips.csv",
        labels=tmp_path / "labels.json",
        candidates=tmp_path / "candidates.txt",
        mixtures=12,
        development_mixtures=6,
        absent_share=0.0,
    )
    make_open_sounds.main(arguments)
    test, other, development = (
        load_evaluation_set(tmp_path / "out" / f"open_sounds{part}.json")
        for part in ("", "_paraphrases", "_development")
    )
    assert [len(made.entries) for made in (test, other, development)] == [12, 12, 6]
    used = [
        {source.file for entry in made.entries for source in (entry.target, entry.interferer)}
        for made in (test, development)
    ]
    assert not used[0] & used[1]
    assert all(make_open_sounds.is_development("p", f"{file}.ogg") for file in used[1])
    assert not any(make_open_sounds.is_development("p", f"{file}.ogg") for file in used[0])
    (tmp_path / "candidates.txt").write_text("a1_0\ntrain_0\n", "utf-8")
    with pytest.raises(AudioSepError, match="has no held-out clip train_0"):
        make_open_sounds.main(arguments)


@pytest.mark.parametrize(
    ("name", "mixtures", "absent", "of_kinds", "sha256"),
    [
        (
            "open_sounds",
            200,
            50,
            (22, 35, 36, 35, 36, 36),
            "7dab36313d88b5d9a09d20985cb0291f498be36b0a69b0d171a40b0c4cba2d9d",
        ),
        (
            "open_sounds_development",
            100,
            25,
            (16, 17, 17, 16, 17, 17),
            "0ae16ab0ffdea5f13d07175117f16aa75507961df8b9885cd47ca035bd369738",
        ),
        (
            "open_sounds_paraphrases",
            200,
            0,
            (22, 35, 36, 35, 36, 36),
            "a075cff5474a63c069779d5f153ccca9f2833e514416b86c161967f586412e78",
        ),
    ],
)
def test_the_committed_open_sounds_sets_are_what_the_page_says(name, mixtures, absent, of_kinds, sha256):
    """Published numbers belong to these bytes: change them only knowingly."""
    path = COMMITTED / f"{name}.json"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256
    made = load_evaluation_set(path)
    present = [entry for entry in made.entries if not entry.is_absent]
    assert (len(present), len(made.entries) - len(present)) == (mixtures, absent)
    counted = collections.Counter(made.kinds[entry.target.label] for entry in present)
    assert tuple(counted[kind] for kind in make_open_sounds.KINDS) == of_kinds
    assert max(collections.Counter(entry.target.label for entry in present).values()) <= 5
    assert all(entry.target.label != entry.interferer.label and entry.snr_db == 0 for entry in made.entries)
    assert (made.seconds, made.sample_rate_hz) == (5.0, 32_000)


def test_development_and_test_share_no_clip():
    test, development = (
        {
            source.file
            for entry in load_evaluation_set(COMMITTED / f"{name}.json").entries
            for source in (entry.target, entry.interferer)
        }
        for name in ("open_sounds", "open_sounds_development")
    )
    assert not test & development


@pytest.mark.skipif(not make_open_sounds.CORPUS.is_dir(), reason="the corpus is not in this checkout")
@pytest.mark.parametrize("name", ["open_sounds", "open_sounds_development", "open_sounds_paraphrases"])
def test_the_committed_sets_fit_the_corpus(name):
    labels = json.loads((make_open_sounds.CORPUS / "open_sounds_labels.json").read_text("utf-8"))
    parsed = {label: make_open_sounds.Label(**fields) for label, fields in labels.items()}
    parts = make_open_sounds.read_clips(
        make_open_sounds.CORPUS / "clips.csv", COMMITTED / "open_sounds_clips.txt", parsed
    )
    known, other = parts if "development" in name else parts[::-1]
    recording = {clip.file: clip.recording for clip in known}
    made = load_evaluation_set(COMMITTED / f"{name}.json")
    used = {recording[one.file] for entry in made.entries for one in (entry.target, entry.interferer)}
    assert not used & {clip.recording for clip in other}
    for entry in made.entries:
        target, interferer = parsed[entry.target.label], parsed[entry.interferer.label]
        assert entry.interferer.label not in target.also
        assert entry.target.label not in interferer.also
        assert recording[entry.target.file] != recording[entry.interferer.file]
        allowed = target.heldout_captions if "paraphrases" in name else target.captions
        assert entry.caption in allowed
        if entry.is_absent:
            asked = {label for label, one in parsed.items() if entry.query in one.captions}
            assert not asked & {entry.target.label, entry.interferer.label, *target.also, *interferer.also}
