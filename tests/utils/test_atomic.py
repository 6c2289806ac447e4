"""Files that appear whole or not at all, and the errors where they cannot be written."""

import json
import os

import pytest

from audiosep_jax.errors import AudioSepError
from audiosep_jax.utils.atomic import make_folder, replacing, write_json


def fail(writing):
    with writing as temporary:
        temporary.write_text("half", "utf-8")
        raise ZeroDivisionError


def names(folder):
    return sorted(os.listdir(folder))


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_appears_whole_or_not_at_all(tmp_path, durable):
    path = tmp_path / "record.json"
    with replacing(path, durable=durable) as temporary:
        temporary.write_text("old", "utf-8")
        assert not path.exists()
    with pytest.raises(ZeroDivisionError):
        fail(replacing(path, durable=durable))
    assert path.read_text("utf-8") == "old"
    with replacing(path, durable=durable) as temporary:
        assert (temporary.parent, temporary.suffix) == (tmp_path, ".json")
        assert temporary.name.startswith(".record-")
        temporary.write_text("new", "utf-8")
        assert path.read_text("utf-8") == "old"
    assert path.read_text("utf-8") == "new"
    assert names(tmp_path) == ["record.json"]


def test_two_writers_of_one_file_do_no_harm(tmp_path):
    path = tmp_path / "a.txt"
    with replacing(path) as first, replacing(path) as second:
        first.write_text("first", "utf-8")
        second.write_text("second", "utf-8")
    assert path.read_text("utf-8") == "first"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_mode_of_a_file_follows_the_umask(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        write_json(tmp_path / "a.json", {})
    finally:
        os.umask(before)
    assert (tmp_path / "a.json").stat().st_mode & 0o777 == mode


def test_durable_content_is_on_the_disk_before_the_move(tmp_path, monkeypatch):
    steps, sync, replace = [], os.fsync, os.replace

    def synced(descriptor):
        steps.append(("sync", os.fstat(descriptor).st_ino, os.fstat(descriptor).st_size))
        sync(descriptor)

    def moved(source, target):
        steps.append(("move", os.stat(source).st_ino, os.stat(source).st_size))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", moved)
    with replacing(tmp_path / "a.jsonl", suffix=".part", durable=True) as temporary:
        assert temporary.suffix == ".part"
        temporary.write_text("line\n", "utf-8")
    number = (tmp_path / "a.jsonl").stat().st_ino
    assert steps == [("sync", number, 5), ("move", number, 5)]


@pytest.mark.parametrize(
    ("error", "said"),
    [(OSError(28, "No space left on device"), "No space left on device"), (OSError("odd"), "odd")],
)
def test_a_disk_that_refuses_is_named(tmp_path, monkeypatch, error, said):
    path = tmp_path / "a.json"
    path.write_text("old", "utf-8")

    def refused(*_):
        raise error

    monkeypatch.setattr(os, "replace", refused)
    with pytest.raises(AudioSepError) as caught:
        write_json(path, {})
    assert str(caught.value) == f"{path} cannot be written: {said}."
    with pytest.raises(AudioSepError) as caught, replacing(path, advice="make room"):
        pass
    assert str(caught.value) == f"{path} cannot be written: {said}; make room."
    assert path.read_text("utf-8") == "old"
    assert names(tmp_path) == ["a.json"]


def test_folders_are_made_or_named(tmp_path):
    assert make_folder(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    write_json(tmp_path / "c" / "d.json", [])
    assert names(tmp_path / "a" / "b") == []
    assert names(tmp_path / "c") == ["d.json"]
    (tmp_path / "file").touch()
    with pytest.raises(AudioSepError, match=r"file cannot be written as a folder: .*; choose another one\."):
        write_json(tmp_path / "file" / "d.json", [])


def test_json_is_utf_8_with_an_end_and_without_nan(tmp_path):
    path = tmp_path / "a.json"
    values = {"label": "Vögel", "values": [0.1, None]}
    write_json(path, values)
    text = path.read_text("utf-8")
    assert json.loads(text) == values
    assert "Vögel" in text
    assert text.endswith("}\n")
    for bad in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="JSON"):
            write_json(path, {"mean": bad})
    assert path.read_text("utf-8") == text
    assert names(tmp_path) == ["a.json"]


def test_json_keeps_names_that_are_not_utf_8(tmp_path):
    write_json(tmp_path / "a.json", ["not \udcff text", "ü"])
    assert json.loads((tmp_path / "a.json").read_text("utf-8")) == ["not \udcff text", "ü"]
