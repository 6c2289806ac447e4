import json

import pytest
from corpus_folders import Prepared, damaged, sound, text

from audiosep_jax.errors import AudioSepError
from data_pipelines.corpora.audioset import AudioSet

# As the release has it: three lines of comment, a space after each comma, labels in quotation marks.
HEADER = """# Segments csv created Sun Mar  5 10:54:25 2017
# num_ytids=20371, num_segs=20371, num_unique_labels=527, num_positive_labels=51804
# YTID, start_seconds, end_seconds, positive_labels
"""
CLASSES = '''index,mid,display_name
0,/m/09x0r,"Speech"
1,/m/05zppz,"Male speech, man speaking"
2,/t/dd00088,"Gush"
3,/m/0l14md,"French horn"
4,/m/quoted,"So-called ""music"""
'''


def segments(*lines):
    return HEADER + "".join(f"{line}\n" for line in lines)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    source = tmp_path_factory.mktemp("audioset") / "source"
    text(source / "class_labels_indices.csv", CLASSES)
    text(
        source / "balanced_train_segments.csv",
        segments(
            '--PJHxphWEs, 30.000, 40.000, "/m/09x0r,/t/dd00088"',
            '--ZhevVpy1s, 50.000, 60.000, "/m/05zppz"',
            '--aE2O5G5WE, 0.000, 10.000, "/m/0l14md,/m/quoted,/m/09x0r"',
            '--aE2O5G5WE, 0.000, 10.000, "/m/0l14md,/m/quoted,/m/09x0r"',
            'Yb0RFKhbpFJ, 30.000, 40.000, "/m/09x0r"',
            'gone_gone-1, 30.000, 40.000, "/m/09x0r"',
            'gone_gone-2, 30.000, 40.000, "/m/09x0r"',
            'brokenbroke, 30.000, 40.000, "/m/09x0r"',
        ),
    )
    text(source / "metadata" / "eval_segments.csv", segments('-0RWZT-miFs, 420.000, 430.000, "/m/09x0r"'))
    sound(source / "bal_train" / "Y--PJHxphWEs.wav", 1)
    sound(source / "bal_train" / "--ZhevVpy1s_50.000_60.000.flac", 2)
    sound(source / "bal_train" / "0,=" / "--aE2O5G5WE_0_10.ogg", 3)
    sound(source / "bal_train" / "YYb0RFKhbpFJ.wav", 4)
    damaged(source / "bal_train" / "brokenbroke.wav")
    sound(source / "evaluation" / "-0RWZT-miFs_420000_430000.wav", 5)
    sound(source / "not_in_a_table.wav", 6)
    return Prepared("audioset", source, "--max-failed-share", 0.5)


def test_clips_have_their_classes_and_one_caption_of_them_all(prepared):
    clips = prepared.clips("balanced_train")
    assert set(clips) == {
        "bal_train/Y--PJHxphWEs.wav",
        "bal_train/--ZhevVpy1s_50.000_60.000.flac",
        "bal_train/0,=/--aE2O5G5WE_0_10.ogg",
        "bal_train/YYb0RFKhbpFJ.wav",
    }
    two = clips["bal_train/Y--PJHxphWEs.wav"]
    assert two.captions == ("speech, gush",)
    assert (two.label, two.labels, two.source) == ("Speech", ("Speech", "Gush"), "--PJHxphWEs")
    one = clips["bal_train/--ZhevVpy1s_50.000_60.000.flac"]
    assert (one.captions, one.label, one.labels) == (
        ("male speech, man speaking",),
        "Male speech, man speaking",
        (),
    )
    odd = clips["bal_train/0,=/--aE2O5G5WE_0_10.ogg"]
    assert odd.captions == ('French horn, so-called "music", speech',)
    assert odd.labels == ("French horn", 'So-called "music"', "Speech")
    (evaluated,) = prepared.clips("eval").values()
    assert evaluated.id == "evaluation/-0RWZT-miFs_420000_430000.wav"


def test_absent_files_are_missing_and_damaged_ones_are_skipped(prepared):
    assert prepared.report["missing"] == ["gone_gone-1.wav", "gone_gone-2.wav"]
    assert list(prepared.skipped) == ["bal_train/brokenbroke.wav"]
    assert "truncated" in prepared.skipped["bal_train/brokenbroke.wav"]
    assert prepared.report["prepared"] == {"balanced_train": 4, "eval": 1}
    assert prepared.report["total"] == 8


def test_the_dataset_has_its_metadata(prepared):
    assert prepared.info["name"] == "audioset"
    assert "Gemmeke" in prepared.info["citation"]
    assert prepared.info["location"]["urls"] == ["https://research.google.com/audioset/"]
    assert "CC BY 4.0" in prepared.info["redistributionInfo"]["license"]
    assert prepared.info["releaseNotes"] == AudioSet.RELEASE_NOTES
    assert "balanced_train 22176" in prepared.info["description"]


def source_of(tmp_path, line='--PJHxphWEs, 30.000, 40.000, "/m/09x0r"', *, classes=CLASSES):
    text(tmp_path / "eval_segments.csv", segments(line))
    if classes:
        text(tmp_path / "class_labels_indices.csv", classes)
    (tmp_path / "--PJHxphWEs.wav").touch()
    return tmp_path


def rows(source, **options):
    return AudioSet(source=source, data_dir=source / "out", **options).rows


def test_the_ontology_names_the_classes_without_the_indices(tmp_path):
    source = source_of(tmp_path, classes="")
    with pytest.raises(AudioSepError, match=r"holds neither class_labels_indices\.csv nor ontology\.json"):
        rows(source)
    entries = [{"id": "/m/09x0r", "name": "Speech", "child_ids": []}]
    (source / "ontology.json").write_text(json.dumps(entries))
    (row,) = rows(source)
    assert row.label == "Speech"
    (source / "ontology.json").write_text('[{"mid": "/m/09x0r"}]')
    with pytest.raises(AudioSepError, match=r"ontology\.json is not AudioSet's ontology"):
        rows(source)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('--PJHxphWEs, 30.000, 40.000, "/m/nobody"', r"line 4 has the class '/m/nobody', which"),
        (
            '--PJHxphWEs, half, 40.000, "/m/09x0r"',
            "line 4 has the time 'half', which is not a number of seconds",
        ),
        ("--PJHxphWEs, 30.000, 40.000", "line 4 has 3 fields where 4 are needed"),
        ('--PJHxphWEs, 30.000, 40.000, ""', "line 4 is incomplete: it has no positive_labels"),
    ],
)
def test_a_faulty_line_is_named(tmp_path, line, message):
    with pytest.raises(AudioSepError, match=message):
        rows(source_of(tmp_path, line))


def test_a_resumed_build_ends_with_the_same_bytes(prepared):
    assert prepared.is_the_same_after_an_interruption()
