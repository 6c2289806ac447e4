"""The common behaviour of all corpora, tested with AudioCaps."""

import json
from pathlib import Path

import pytest
from corpus_folders import Prepared, sound, table, text

from audiosep_jax.errors import AudioSepError
from data_pipelines.corpora import registry
from data_pipelines.corpora.audiocaps import AudioCaps
from data_pipelines.corpora.corpus import Corpus

HEADER = "audiocap_id,youtube_id,start_time,caption"


def write(source):
    for number, split in enumerate(("train", "val", "test")):
        table(source / f"{split}.csv", HEADER, *((row, f"{split:_<10}{row}", 0, "rain") for row in range(3)))
        sound(source / f"{split:_<10}0.wav", number)
        sound(source / f"Y{split:_<10}1.wav", number)
    return source


def rows(source, **options):
    return AudioCaps(source=source, data_dir=source / "out", **options).rows


def test_missing_clips_are_no_failures(tmp_path):
    prepared = Prepared("audiocaps", write(tmp_path / "source"), "--max-failed-share", 0)
    assert prepared.report["prepared"] == {"train": 2, "val": 2, "test": 2}
    assert prepared.report["missing"] == ["test______2.wav", "train_____2.wav", "val_______2.wav"]


def test_splits_are_chosen_by_name(tmp_path):
    source = write(tmp_path)
    assert {row.split for row in rows(source, splits=["val", "test"])} == {"val", "test"}
    with pytest.raises(AudioSepError, match="audiocaps has no split 'eval': choose from train, val, test"):
        rows(source, splits=["eval"])
    (source / "test.csv").unlink()
    assert {row.split for row in rows(source)} == {"train", "val"}
    with pytest.raises(AudioSepError, match=r"has no table of test: audiocaps needs train\.csv"):
        rows(source, splits=["test"])


def test_a_folder_without_tables_or_without_sound_is_refused(tmp_path):
    with pytest.raises(AudioSepError, match=r"has no table of train, val, test: audiocaps needs train\.csv"):
        rows(tmp_path)
    write(tmp_path)
    for file in tmp_path.glob("*train*.wav"):
        file.unlink()
    with pytest.raises(AudioSepError, match=r"holds no sound of the split 'train' .* with --splits"):
        rows(tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.txt", "train_____0\n\nYval_______0.wav\n"),
        ("x.json", json.dumps(["train_____0", "Yval_______0.wav"])),
        ("x.json", json.dumps({"AudioSet": ["train_____0"], "FreeSound": ["Yval_______0.wav"]})),
    ],
)
def test_recordings_are_left_out_by_name(tmp_path, name, content):
    source = write(tmp_path)
    everything = {row.source for row in rows(source)}
    text(tmp_path / name, content)
    left = {row.source for row in rows(source, exclude=tmp_path / name)}
    assert everything - left == {"train_____0", "val_______0"}


def test_a_faulty_list_is_refused(tmp_path):
    source = write(tmp_path)
    text(tmp_path / "x.json", '{"AudioSet": 3}')
    with pytest.raises(AudioSepError, match=r"x\.json is neither a list nor an object of lists"):
        rows(source, exclude=tmp_path / "x.json")
    with pytest.raises(AudioSepError, match=r"y\.txt cannot be read"):
        rows(source, exclude=tmp_path / "y.txt")


CORPORA = [cls for name in registry.DATASETS if issubclass(cls := registry.builder_class(name), Corpus)]


@pytest.mark.parametrize("corpus", CORPORA, ids=lambda corpus: corpus.name)
def test_every_corpus_has_its_metadata(corpus):
    assert corpus.name in registry.DATASETS
    assert corpus.HOMEPAGE.startswith("https://")
    assert corpus.CITATION.startswith("@")
    assert corpus.LICENCE
    assert str(corpus.VERSION) in corpus.RELEASE_NOTES
    assert set(corpus.COUNTS) == set(corpus.SPLITS)
    page = (Path(__file__).parents[3] / "docs" / "datasets.md").read_text("utf-8")
    (line,) = (line for line in page.splitlines() if line.startswith(f"| [`{corpus.name}`]"))
    assert all(f"{split} {count:,}" in line for split, count in corpus.COUNTS.items())
