"""Frames of a clip's video: from the table to the record, and their errors."""

import json

import pytest
import tensorflow_datasets as tfds
from PIL import Image
from pipelines_sounds import prepared, tone, write_table, write_wav

from audiosep_jax.errors import AudioSepError
from data_pipelines.corpora.audio_folder import AudioFolder
from data_pipelines.mixtures.clip_index import ClipStore
from data_pipelines.mixtures.clips import frames_digest
from data_pipelines.prepare.frames import read_frames


def image(path, colour=(1, 2, 3), size=(5, 4), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(options.pop("mode", "RGB"), size, colour).save(path, **options)
    return path.read_bytes()


def folder_of(tmp_path, rows):
    for row in rows:
        write_wav(tmp_path / row["file"], tone(len(row["file"]), seconds=0.2))
    write_table(tmp_path / "clips.csv", rows)
    return tmp_path


def test_records_hold_the_unchanged_files(tmp_path):
    source = tmp_path / "source"
    files = {
        name: image(source / "video" / name, (len(name), 9, 9)) for name in ("a0.png", "a1.jpg", "[b].png")
    }
    # The end of a file is its own, even where it is nothing but zeros.
    (source / "video" / "a1.jpg").write_bytes(files["a1.jpg"] + b"\0\0")
    files["a1.jpg"] += b"\0\0"
    rows = [
        {"file": "a.wav", "captions": "", "frames": "video/a*; video/[b].png"},
        {"file": "b.wav", "captions": "two", "frames": "video/[b].png"},
        {"file": "c.wav", "captions": "three", "frames": ""},
    ]
    out = prepared(folder_of(source, rows), tmp_path / "out")
    store = ClipStore(str(out))
    frames = {clip.id: store.frames(index) for index, clip in enumerate(store.clips)}
    assert frames == {
        "a.wav": [files["a0.png"], files["a1.jpg"], files["[b].png"]],
        "b.wav": [files["[b].png"]],
        "c.wav": [],
    }
    clips = {clip.id: clip for clip in store.clips}
    assert clips["a.wav"].captions == ()
    assert clips["c.wav"].frames == ""
    assert {name: frames_digest(content) for name, content in frames.items()} == {
        name: clip.frames for name, clip in clips.items()
    }
    (out / "clips-train.jsonl").unlink()
    assert ClipStore(str(out)).clips == store.clips
    stored = tfds.builder_from_directory(out).as_data_source(split="train")
    assert {len(example["frames"]) for example in stored} == {0, 1, 3}
    report = json.loads((out / "report.json").read_text())
    assert (report["uncaptioned"], report["with_frames"]) == (1, 2)


def test_the_digest_of_frames_changes_with_content_and_order():
    assert frames_digest([b"a", b"b"]) != frames_digest([b"b", b"a"]) != frames_digest([b"ba"])
    assert frames_digest([]) == ""


def broken(path):
    content = image(path, size=(64, 64))
    path.write_bytes(content[:-30])


def huge(path):
    image(path, size=(8200, 8200), mode="1", colour=1)


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.write_text("no image"), "is not a readable image"),
        (lambda path: path.write_bytes(b""), "is not a readable image"),
        (broken, "is not a readable image"),
        (huge, "has 8200 × 8200 pixels: scale it down"),
        (lambda path: image(path, size=(300, 2)), "too narrow"),
        (lambda path: image(path, mode="I", colour=70000, format="TIFF"), "32-bit numbers"),
        (lambda path: path.mkdir(), "cannot be read"),
    ],
    ids=["missing", "text", "empty", "cut off", "huge", "narrow", "32 bits", "folder"],
)
def test_a_clip_with_an_unusable_frame_is_skipped_with_the_reason(tmp_path, write, said):
    source = tmp_path / "source"
    image(source / "good.png")
    rows = [
        {"file": "a.wav", "captions": "one", "frames": "good.png;bad.png"},
        {"file": "b.wav", "captions": "two", "frames": "good.png"},
    ]
    folder_of(source, rows)
    write(source / "bad.png")
    out = prepared(source, tmp_path / "out", max_failed_share=0.5)
    ((skipped),) = json.loads((out / "report.json").read_text())["skipped"]
    assert skipped["file"] == "a.wav"
    assert "bad.png" in skipped["reason"]
    assert said in skipped["reason"]


@pytest.mark.parametrize("entry", ["no/*.png", "/etc/*.png"])
def test_a_pattern_without_a_match_is_named(tmp_path, entry):
    with pytest.raises(AudioSepError, match=r"The frames .*\*\.png (do not exist|cannot be searched)"):
        read_frames(tmp_path, [entry])


def test_a_folder_whose_name_looks_like_a_pattern_holds_frames(tmp_path):
    content = image(tmp_path / "take [1]" / "x.png")
    assert read_frames(tmp_path / "take [1]", ["*.png"]) == (content,)


def test_a_table_says_which_clips_have_no_caption(tmp_path):
    def rows(text, name="clips.csv"):
        (tmp_path / name).write_text(text)
        return AudioFolder(source=tmp_path, metadata=tmp_path / name, data_dir=tmp_path / "out").rows

    (row,) = rows("file,label\na.wav,dog\n")
    assert (row.captions, row.frames) == ((), ())
    (row,) = rows("file,captions,frames\na.wav,,x.png; y.png;x.png;\n")
    assert (row.captions, row.frames) == ((), ("x.png", "y.png"))
    (row,) = rows("file,captions,frames\na.wav,one,x.png\n./a.wav,,y.png\n")
    assert (row.captions, row.frames) == (("one",), ("x.png", "y.png"))
    (row,) = rows('{"data": [{"wav": "a.wav", "frames": ["x.png", "y.png"]}]}', "clips.json")
    assert (row.captions, row.frames) == ((), ("x.png", "y.png"))
    for text in ("file,captions\na.wav,one\nb.wav,\n", "file,captions,frames\na.wav,one,\nb.wav,,\n"):
        with pytest.raises(AudioSepError, match="line 3 has no caption"):
            rows(text)
    for column in ("Captions", "captoins", "text", "Caption", "descriptions"):
        with pytest.raises(AudioSepError, match=f"has a column '{column}' and none named captions"):
            rows(f"file,{column}\na.wav,a dog barks\n")
    entries = '{"data": [{"wav": "a.wav", "caption": "x"}, {"wav": "b.wav"}]}'
    with pytest.raises(AudioSepError, match="entry 1 has no caption"):
        rows(entries, "clips.json")
    with pytest.raises(AudioSepError, match="'frames' is a dict"):
        rows('{"data": [{"wav": "a.wav", "frames": {}}]}', "clips.json")
