import json

import pytest
from pipelines_sounds import tone, write_table, write_wav

from audiosep_jax.errors import AudioSepError
from data_pipelines.corpora.audio_folder import AudioFolder
from data_pipelines.corpora.esc50 import Esc50
from data_pipelines.corpora.esc50_captions import CAPTIONS, captions_of, category_of_folder


def rows(tmp_path, builder=AudioFolder, **options):
    return builder(source=tmp_path, data_dir=tmp_path / "out", **options).rows


def test_a_csv_gives_captions_label_split_and_source(tmp_path):
    line = {
        "file": "b.wav",
        "captions": "a dog | a dog barking|",
        "label": "dog",
        "split": "test",
        "source": "r1",
    }
    write_table(tmp_path / "clips.csv", [line, {**line, "file": "a.wav", "source": "", "split": ""}])
    first, second = rows(tmp_path)
    assert (first.file, first.split, first.source) == ("a.wav", "train", "a.wav")
    assert second.captions == ("a dog", "a dog barking")
    assert (second.label, second.split, second.source) == ("dog", "test", "r1")


def test_the_reference_s_json_is_read_and_its_captions_of_one_file_are_joined(tmp_path):
    entries = [{"wav": "x/a.wav", "caption": "rain"}, {"wav": "x/a.wav", "caption": "heavy rain"}]
    (tmp_path / "list.json").write_text(json.dumps({"data": entries}))
    (row,) = rows(tmp_path, metadata=tmp_path / "list.json")
    assert (row.file, row.captions, row.label, row.source) == (
        "x/a.wav",
        ("rain", "heavy rain"),
        "",
        "x/a.wav",
    )


def test_clips_of_one_recording_share_a_split_and_the_choice_is_stable(tmp_path):
    lines = [
        {"file": f"{take}-{number}.wav", "captions": "a", "source_file": f"recording {number}"}
        for number in range(300)
        for take in range(3)
    ]
    write_table(tmp_path / "clips.csv", lines)
    options = {"source_column": "source_file", "validation_share": 0.1}
    found = rows(tmp_path, **options)
    splits = {}
    for row in found:
        splits.setdefault(row.source, set()).add(row.split)
    assert all(len(names) == 1 for names in splits.values())
    share = sum(names == {"validation"} for names in splits.values()) / len(splits)
    assert 0.05 < share < 0.15

    write_table(tmp_path / "clips.csv", lines[::-1][:200])
    assert set(rows(tmp_path, **options)) < set(found)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("path,captions\na.wav,x\n", {}, "needs the columns file and captions"),
        ("file,captions\na.wav,\n", {}, "line 2 has no caption"),
        ("file,captions\n,x\n", {}, "line 2 has no file"),
        ("file,captions\na.wav,x\n", {"source_column": "origin"}, "no field 'origin'"),
        ("file,captions,label\na.wav,x,1\na.wav,y,2\n", {}, "line 3 names a.wav again with another label"),
        ("file,captions\n", {}, "has a table without clips"),
        ("file,captions\n\xff", {}, "not a readable CSV table"),
        ("file,captions\na.wav,x\n", {"validation_share": 1.5}, "validation share is 1.5"),
        ("file,captions\na.wav,x\n", {"validation_share": float("nan")}, "validation share is nan"),
        ("file,captions\na.wav,x\n", {"max_failed_share": float("nan")}, "failed share is nan"),
        ("file,captions\na.wav,x\n", {"max_failed_share": 1.1}, "failed share is 1.1"),
        ("file,captions\na.wav,x\n", {"sample_rate_hz": 0}, "sample rate is 0 Hz"),
        ("file,captions\na.wav,x\n", {"sample_rate_hz": 65_537}, "multiples of 10"),
        ("file,captions\na.wav,x\n", {"sample_rate_hz": 700_000}, "sample rate is 700000 Hz"),
    ],
)
def test_a_faulty_table_is_refused_with_the_place(tmp_path, text, options, message):
    (tmp_path / "clips.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(AudioSepError, match=message):
        rows(tmp_path, **options)


@pytest.mark.parametrize("split", ["all", "ALL", " ", "a/b", "../x", "a+b", "a:b", ".a", "a[1]", "a\n"])
def test_a_split_name_that_tfds_could_not_read_is_refused(tmp_path, split):
    write_table(tmp_path / "clips.csv", [{"file": "a.wav", "captions": "x", "split": split}])
    with pytest.raises(AudioSepError, match=r"clip 'a\.wav' has the split"):
        rows(tmp_path)


def test_two_spellings_of_a_path_are_one_clip(tmp_path):
    write_table(
        tmp_path / "clips.csv",
        [{"file": "0.wav", "captions": "x"}, {"file": "./0.wav", "captions": "y"}],
    )
    for options in ({}, {"source_column": "file"}):
        (row,) = rows(tmp_path, **options)
        assert (row.file, row.captions, row.source) == ("0.wav", ("x", "y"), "0.wav")


def test_a_json_caption_may_be_a_list_and_null_is_ignored(tmp_path):
    entry = {"wav": "a.wav", "caption": ["rain", "heavy rain"], "label": None}
    (tmp_path / "clips.json").write_text(json.dumps({"data": [entry]}))
    (row,) = rows(tmp_path)
    assert (row.captions, row.label) == (("rain", "heavy rain"), "")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"caption": ["rain", 3]}, "entry 0: the list 'caption'"),
        ({"caption": {"a": 1}}, "entry 0: 'caption' is a dict"),
        ({"caption": "\ud800"}, r"clip 'a\.wav' has the text '\\ud800'"),
        ({"wav": "\ud800.wav"}, r"clip '\\ud800\.wav' has the text"),
    ],
)
def test_a_json_value_of_the_wrong_type_is_refused_with_its_row(tmp_path, change, message):
    (tmp_path / "clips.json").write_text(json.dumps({"data": [{"wav": "a.wav", "caption": "x"} | change]}))
    with pytest.raises(AudioSepError, match=message):
        rows(tmp_path, validation_share=0.1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe\x00\x81", "not a readable CSV table"),
        (b"filename,fold,category,src_file\na.wav,1\n", "line 2 is incomplete"),
    ],
)
def test_an_unusable_esc50_table_is_refused(tmp_path, content, message):
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "esc50.csv").write_bytes(content)
    with pytest.raises(AudioSepError, match=message):
        rows(tmp_path, Esc50)


@pytest.mark.parametrize(
    ("text", "what"),
    [("[]", "table"), ('{"data": 3}', "table"), ('{"data": ["a.wav"]}', "table"), ("{", "JSON file")],
)
def test_a_json_of_another_shape_is_refused(tmp_path, text, what):
    (tmp_path / "clips.json").write_text(text)
    with pytest.raises(AudioSepError, match=rf"clips\.json is not a readable {what}"):
        rows(tmp_path)


def test_a_missing_folder_or_table_is_named(tmp_path):
    with pytest.raises(AudioSepError, match="nowhere is not a folder"):
        rows(tmp_path / "nowhere")
    with pytest.raises(AudioSepError, match="give its table with --metadata"):
        rows(tmp_path)
    with pytest.raises(AudioSepError, match=r"x\.csv does not exist"):
        rows(tmp_path, metadata=tmp_path / "x.csv")


def test_esc50_reads_its_table(tmp_path):
    line = {"filename": "1-100032-A-0.wav", "fold": "1", "target": "0", "category": "dog", "esc10": "True"}
    (tmp_path / "meta").mkdir()
    write_table(
        tmp_path / "meta" / "esc50.csv",
        [
            {**line, "src_file": "100032", "take": "A"},
            {
                **line,
                "filename": "5-9-A-3.wav",
                "fold": "5",
                "category": "sea_waves",
                "src_file": "9",
                "take": "A",
            },
        ],
    )
    dog, sea = rows(tmp_path, Esc50)
    assert (dog.file, dog.split, dog.source, dog.label) == (
        "audio/1-100032-A-0.wav",
        "fold1",
        "100032",
        "dog",
    )
    assert (sea.split, sea.label) == ("fold5", "sea waves")
    assert "ocean waves" in sea.captions


@pytest.mark.parametrize("folder", ["dog_bark", "001 - Dog bark"])
def test_esc10_reads_folders_as_both_releases_name_them(tmp_path, folder):
    write_wav(tmp_path / "x.wav", tone(0, seconds=0.1))
    for name in ("1-30226-A.ogg", "4-207124-B.ogg", "notes.txt"):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / name).touch()
    first, second = rows(tmp_path, Esc50)
    assert (first.split, first.source, first.label) == ("fold1", "30226", "dog")
    assert (second.split, second.source) == ("fold4", "207124")
    assert "a dog barking" in first.captions


def test_a_folder_with_neither_layout_is_refused(tmp_path):
    with pytest.raises(AudioSepError, match="neither ESC-50"):
        rows(tmp_path, Esc50)


def test_captions_cover_the_fifty_categories_and_name_each_only_once():
    assert len(CAPTIONS) == 50
    assert all(len(captions) >= 2 for captions in CAPTIONS.values())
    every = [caption for captions in CAPTIONS.values() for caption in captions]
    assert len(every) == len(set(every))
    assert captions_of("dog_whistle") == ("dog whistle",)
    assert category_of_folder("baby_cry") == "crying_baby"
