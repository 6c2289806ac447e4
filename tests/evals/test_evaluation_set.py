import collections
import dataclasses
import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from evals_sounds import CAPTIONS, RATE, small_set, sound, write_clips

from audiosep_jax.audio.writing import write_audio
from audiosep_jax.errors import AudioSepError
from audiosep_jax.evals.evaluation_set import (
    Entry,
    Source,
    check_files,
    load_evaluation_set,
    render,
    render_entries,
    save_evaluation_set,
)
from audiosep_jax.evals.evaluation_set_builder import Clip

COMMITTED = Path(__file__).parents[2] / "experiments" / "evaluation" / "esc10_fold4.json"


@pytest.fixture(scope="module")
def clips_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("clips")
    write_clips(root)
    return root


@pytest.fixture(scope="module")
def clips(clips_root):
    return [
        Clip(file=path.relative_to(clips_root).as_posix(), label=path.parent.name)
        for path in clips_root.glob("*/*.flac")
    ]


def energy(waveform):
    return np.mean(np.square(waveform, dtype=np.float64))


def test_the_same_arguments_make_the_same_set_in_any_order_of_clips(clips_root, clips):
    made = small_set(clips_root, clips)
    assert made == small_set(clips_root, clips[::-1])
    assert made != small_set(clips_root, clips, seed=1)


def test_an_evaluation_set_of_a_seed_stays_what_it_is(clips_root, clips):
    """Published numbers belong to a set: change this only knowingly."""
    made = small_set(clips_root, clips, per_class=16, absent_per_class=5, seed=4)
    known = "b05bc4803367668ea91783867ea0f718a5be806e104cd66cbeb1e95ba205df9b"
    assert hashlib.sha256(repr(made.entries).encode()).hexdigest() == known


def test_classes_take_turns_and_never_meet_themselves(clips_root, clips):
    made = small_set(clips_root, clips, per_class=6, absent_per_class=3)
    for absent, count in ((False, 6), (True, 3)):
        entries = [entry for entry in made.entries if entry.is_absent == absent]
        assert collections.Counter(entry.target.label for entry in entries) == dict.fromkeys(CAPTIONS, count)
        assert all(entry.target.label != entry.interferer.label for entry in entries)
    present = [entry for entry in made.entries if not entry.is_absent]
    pairs = collections.Counter((entry.target.label, entry.interferer.label) for entry in present)
    assert set(pairs.values()) == {3}
    targets = collections.Counter(entry.target.file for entry in made.entries)
    assert max(targets.values()) - min(targets.values()) <= 1


def test_captions_name_the_target_and_absent_captions_name_neither(clips_root, clips):
    label_of = {caption: label for label, captions in CAPTIONS.items() for caption in captions}
    for entry in small_set(clips_root, clips, per_class=9, absent_per_class=9).entries:
        assert label_of[entry.caption] == entry.target.label
        if entry.is_absent:
            assert entry.query == entry.absent_caption
            assert label_of[entry.query] not in (entry.target.label, entry.interferer.label)
        else:
            assert entry.query == entry.caption


def test_a_set_survives_its_file(clips_root, clips, tmp_path):
    made = small_set(clips_root, clips, snr_db=-2.5, description="Töne")
    path = tmp_path / "new" / "set.json"
    save_evaluation_set(made, path)
    assert load_evaluation_set(path) == made
    assert len(path.read_text("utf-8").splitlines()) == len(made.entries) + 10
    assert [one.name for one in path.parent.iterdir()] == ["set.json"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 99}, "format version 99"),
        ({"entries": []}, "no entries"),
        ({"sample_rate_hz": 0}, "sample_rate_hz 0: give 1000"),
        ({"sample_rate_hz": 10**12}, "sample_rate_hz 1000000000000"),
        ({"seconds": 0.0}, "segments of 0.0 s"),
        ({"seconds": 1e9}, "at most 3600 s"),
        ({"seconds": "5"}, "float"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_file_that_is_no_set_is_refused(clips_root, clips, tmp_path, change, message):
    path = tmp_path / "set.json"
    save_evaluation_set(small_set(clips_root, clips), path)
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | change), "utf-8")
    with pytest.raises(AudioSepError, match=message):
        load_evaluation_set(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1e300, 1e300])
def test_a_set_refuses_numbers_that_no_mixture_can_have(clips_root, clips, value):
    made = small_set(clips_root, clips)
    entry = made.entries[0]
    with pytest.raises(AudioSepError, match="segments of"):
        dataclasses.replace(made, seconds=value)
    with pytest.raises(AudioSepError, match=r"tone.*snr_db|noise.*snr_db|pulse.*snr_db"):
        dataclasses.replace(entry, snr_db=value)
    with pytest.raises(AudioSepError, match="offset_seconds"):
        dataclasses.replace(entry.target, offset_seconds=value)


@pytest.mark.parametrize("snr_db", [-10.0, 0.0, 7.5])
def test_rendered_snr_is_exact(clips_root, clips, snr_db):
    for entry in small_set(clips_root, clips, snr_db=snr_db, absent_per_class=0).entries:
        example = render(entry, root=clips_root, sample_rate_hz=RATE, seconds=0.5)
        interferer = example.mixture.astype(np.float64) - example.target
        measured = 10 * np.log10(energy(example.target) / energy(interferer))
        assert measured == pytest.approx(snr_db, abs=1e-4)
        assert example.mixture.dtype == example.target.dtype == np.float32
        assert example.mixture.shape == (RATE // 2,)


def test_a_mixture_that_would_clip_is_scaled_and_its_snr_kept(clips_root):
    entry = Entry(
        target=Source(file="tone/0.flac", label="tone"),
        interferer=Source(file="noise/0.flac", label="noise"),
        caption="a beep",
        snr_db=-12.0,
    )
    example = render(entry, root=clips_root, sample_rate_hz=RATE, seconds=1.0)
    assert np.abs(example.mixture).max() == pytest.approx(0.9, abs=1e-6)
    ratio = energy(example.target) / energy(example.mixture.astype(np.float64) - example.target)
    assert 10 * np.log10(ratio) == pytest.approx(-12, abs=1e-4)
    quiet = render(dataclasses.replace(entry, snr_db=20.0), root=clips_root, sample_rate_hz=RATE, seconds=1.0)
    np.testing.assert_allclose(quiet.target, sound("tone", 0), atol=1e-4)


def test_offsets_cut_and_short_files_are_padded_at_the_end(tmp_path):
    ramp = np.linspace(0.01, 0.5, RATE, dtype=np.float32)
    write_audio(tmp_path / "ramp.wav", np.stack([ramp, ramp]), sample_rate_hz=RATE, subtype="FLOAT")
    write_audio(tmp_path / "noise.wav", sound("noise", 0, seconds=2), sample_rate_hz=RATE)
    entry = Entry(
        target=Source(file="ramp.wav", label="ramp", offset_seconds=0.25),
        interferer=Source(file="noise.wav", label="noise", offset_seconds=0.5),
        caption="a ramp",
        snr_db=30.0,
    )
    target = render(entry, root=tmp_path, sample_rate_hz=RATE, seconds=1.0).target
    np.testing.assert_allclose(target[:6000], ramp[2000:], atol=1e-6)
    np.testing.assert_array_equal(target[6000:], 0)
    # The SNR holds over the whole segment, padding included.
    assert render(entry, root=tmp_path, sample_rate_hz=2 * RATE, seconds=1.0).mixture.shape == (2 * RATE,)


def test_an_absent_query_has_silence_for_its_answer(clips_root, clips):
    made = small_set(clips_root, clips, per_class=0, absent_per_class=2)
    mixture, target = render_entries(made, made.entries, root=clips_root)
    assert mixture.shape == target.shape == (6, RATE // 2)
    assert not target.any()
    assert (np.abs(mixture).max(1) > 0.05).all()


def test_silent_clips_and_crops_are_never_drawn(tmp_path):
    clips = write_clips(tmp_path, per_label=1)
    half = sound("tone", 1, seconds=4)
    half[: 3 * RATE] = 0
    write_audio(tmp_path / "tone" / "half.wav", half, sample_rate_hz=RATE)
    write_audio(tmp_path / "noise" / "silent.wav", np.zeros(RATE, np.float32), sample_rate_hz=RATE)
    clips += [Clip(file="tone/half.wav", label="tone"), Clip(file="noise/silent.wav", label="noise")]
    made = small_set(tmp_path, clips, per_class=30, absent_per_class=0)
    sources = [source for entry in made.entries for source in (entry.target, entry.interferer)]
    assert not [source for source in sources if source.file == "noise/silent.wav"]
    offsets = [source.offset_seconds for source in sources if source.file == "tone/half.wav"]
    assert offsets
    assert min(offsets) > 2.5
    render_entries(made, made.entries, root=tmp_path)


def test_a_class_without_an_audible_clip_stops_the_creation(tmp_path):
    clips = write_clips(tmp_path, per_label=1)
    write_audio(tmp_path / "noise" / "0.flac", np.full(RATE, 1e-4, np.float32), sample_rate_hz=RATE)
    with pytest.raises(AudioSepError, match=r"class 'noise'.*louder"):
        small_set(tmp_path, clips)


def test_creation_needs_classes_and_captions(clips_root, clips):
    with pytest.raises(AudioSepError, match="needs clips of 2 classes"):
        small_set(clips_root, [clip for clip in clips if clip.label == "tone"], absent_per_class=0)
    with pytest.raises(AudioSepError, match="needs clips of 3 classes"):
        small_set(clips_root, [clip for clip in clips if clip.label != "tone"])
    with pytest.raises(AudioSepError, match="no caption for noise, pulse"):
        small_set(clips_root, clips, captions={"tone": ("a tone",)})


def test_missing_files_are_named_all_at_once_with_the_root(tmp_path):
    clips = write_clips(tmp_path, per_label=2)
    made = small_set(tmp_path, clips, per_class=6)
    check_files(made, tmp_path)
    for name in ("tone/0.flac", "pulse/1.flac"):
        os.remove(tmp_path / name)
    with pytest.raises(AudioSepError, match=r"2 of 6 files.*pulse/1\.flac, tone/0\.flac") as caught:
        check_files(made, tmp_path)
    assert str(tmp_path) in str(caught.value)
    with pytest.raises(AudioSepError, match="not a folder"):
        check_files(made, tmp_path / "nowhere")


def test_other_files_of_the_same_names_are_noticed(clips_root, tmp_path):
    entry = Entry(
        target=Source(file="tone/0.flac", label="tone", offset_seconds=1.5),
        interferer=Source(file="noise/0.flac", label="noise"),
        caption="a beep",
    )
    with pytest.raises(AudioSepError, match=r"tone/0\.flac lasts 1\.00 s.*1\.5 s"):
        render(entry, root=clips_root, sample_rate_hz=RATE, seconds=0.5)
    (tmp_path / "tone").mkdir()
    (tmp_path / "noise").mkdir()
    write_audio(tmp_path / "tone" / "0.flac", np.zeros(2 * RATE, np.float32), sample_rate_hz=RATE)
    write_audio(tmp_path / "noise" / "0.flac", sound("noise", 0), sample_rate_hz=RATE)
    with pytest.raises(AudioSepError, match=r"tone/0\.flac is silent from 1\.5 s"):
        render(entry, root=tmp_path, sample_rate_hz=RATE, seconds=0.4)


def test_the_committed_esc10_set_is_what_its_card_says():
    committed = load_evaluation_set(COMMITTED)
    present = [entry for entry in committed.entries if not entry.is_absent]
    absent = [entry for entry in committed.entries if entry.is_absent]
    assert (committed.seconds, committed.sample_rate_hz) == (5.0, 32_000)
    assert (len(present), len(absent)) == (200, 50)
    assert set(collections.Counter(entry.target.label for entry in present).values()) == {20}
    assert set(collections.Counter(entry.target.label for entry in absent).values()) == {5}
    captions = collections.defaultdict(set)
    for entry in committed.entries:
        assert entry.target.label != entry.interferer.label
        assert entry.snr_db == 0
        captions[entry.target.label].add(entry.caption)
        for source in (entry.target, entry.interferer):
            assert source.file.split("/")[1].startswith("4-")
    assert all(len(some) >= 2 for some in captions.values())
    for entry in absent:
        (named,) = (label for label, some in captions.items() if entry.query in some)
        assert named not in (entry.target.label, entry.interferer.label)
