"""The metadata of a dataset: classes of clips, description, licence, missing files."""

import json

import pytest
import tensorflow_datasets as tfds
from pipelines_sounds import RATE, prepared, tone, write_folder, write_wav

from data_pipelines.corpora.audio_folder import AudioFolder
from data_pipelines.mixtures.clip_index import ClipStore, folder_of
from data_pipelines.mixtures.clips import ClipRow
from data_pipelines.prepare.build import prepare
from data_pipelines.prepare.builder import ClipBuilder


class Birds(ClipBuilder):
    """Birds. A second sentence."""

    DESCRIPTION = "Birds of a garden."
    HOMEPAGE = "https://example.org/birds"
    CITATION = "@misc{birds, title={Birds}}"
    LICENCE = "CC BY 4.0"

    def read_rows(self):
        classes = {"a.wav": ("Bird", "Crow"), "b.wav": (), "c.wav": ("Owl",)}
        return [
            ClipRow(file=file, captions=("x",), label="".join(names[:1]), labels=names)
            for file, names in classes.items()
        ]


@pytest.fixture
def birds(tmp_path):
    for number, file in enumerate(("a.wav", "b.wav", "c.wav")):
        write_wav(tmp_path / "source" / file, tone(number, seconds=0.1))
    return tmp_path / "source"


def build(source, out, **options):
    return prepare(lambda work: Birds(source=source, sample_rate_hz=RATE, data_dir=work, **options), out)


def test_records_and_index_hold_every_class_of_a_clip(birds, tmp_path):
    build(birds, tmp_path / "out")
    store = ClipStore(str(tmp_path / "out"))
    wanted = {"a.wav": ("Bird", ("Bird", "Crow")), "b.wav": ("", ()), "c.wav": ("Owl", ("Owl",))}
    assert {clip.id: (clip.label, clip.labels) for clip in store.clips} == wanted
    (tmp_path / "out" / "clips-train.jsonl").unlink()
    assert ClipStore(str(tmp_path / "out")).clips == store.clips
    stored = tfds.builder_from_directory(tmp_path / "out").as_data_source(split="train")
    assert {example["id"].decode(): len(example["labels"]) for example in stored} == {
        "a.wav": 2,
        "b.wav": 0,
        "c.wav": 1,
    }


def test_a_dataset_of_single_classes_has_no_field_for_several(tones, tmp_path):
    out = prepared(tones, tmp_path / "out")
    assert "labels" not in json.loads((out / "features.json").read_text())["featuresDict"]["features"]
    assert '"labels"' not in (out / "clips-train.jsonl").read_text()
    assert {clip.labels for clip in ClipStore(str(out)).clips} == {()}


def test_its_info_has_description_homepage_and_licence(birds, tmp_path):
    build(birds, tmp_path / "out")
    info = tfds.builder_from_directory(tmp_path / "out").info
    assert (info.description, info.homepage) == (Birds.DESCRIPTION, Birds.HOMEPAGE)
    assert info.citation == Birds.CITATION
    assert (tmp_path / "out" / "LICENSE").read_text() == Birds.LICENCE


def test_missing_files_are_reported_apart_where_they_are_expected(birds, tmp_path):
    (birds / "c.wav").unlink()
    (birds / "b.wav").write_text("no sound")
    report = build(birds, tmp_path / "out", expects_missing=True, max_failed_share=0.5)
    assert (report.total, report.missing, [clip.file for clip in report.skipped]) == (
        3,
        ("c.wav",),
        ["b.wav"],
    )
    written = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (written["missing"], written["total"]) == (["c.wav"], 3)


def test_an_entry_names_a_folder_and_splits():
    for entry, wanted in {
        "a/b": ("a/b", ""),
        "a/b:train": ("a/b", "train"),
        "a/b:x+y": ("a/b", "x+y"),
        "a:b/c": ("a:b/c", ""),
    }.items():
        folder, splits = folder_of(entry)
        assert (str(folder), splits) == wanted


def test_shards_do_not_depend_on_the_order_of_the_rows(tmp_path):
    source = write_folder(tmp_path / "source", seconds=0.1)
    rows = AudioFolder(source=source, data_dir=tmp_path / "out", clips_per_shard=5).shards

    class Backwards(AudioFolder):
        def read_rows(self):
            return list(super().read_rows())[::-1]

    assert Backwards(source=source, data_dir=tmp_path / "out", clips_per_shard=5).shards == rows
    assert [len(shard.rows) for shard in rows] == [5, 5, 2]
