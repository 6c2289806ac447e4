"""Journals: rows survive, damaged lines give empty rows, a full disk is an error."""

import errno
import os

import pytest

from audiosep_jax.utils.journal import append_rows, read_rows


class FullDisk:
    def write(self, data):
        return len(data) - 1


def test_rows_are_read_as_they_were_written(tmp_path):
    path = tmp_path / "rows.jsonl"
    with path.open("ab", buffering=0) as file:
        append_rows(file, [{"name": "ü"}, {"name": "b"}])
        append_rows(file, [{"name": "c"}], durable=True)
        assert path.read_bytes() == b'{"name": "\\u00fc"}\n{"name": "b"}\n{"name": "c"}\n'
    assert read_rows(path.read_bytes()) == [{"name": "ü"}, {"name": "b"}, {"name": "c"}]


def test_damaged_lines_give_empty_rows():
    assert read_rows(b'[1]\n{"a": 1}\n\xff\n{"b') == [{}, {"a": 1}, {}, {}]
    assert read_rows(b"") == []


def test_durable_rows_are_on_the_disk(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", synced.append)
    with (tmp_path / "rows.jsonl").open("ab", buffering=0) as file:
        append_rows(file, [{}])
        assert not synced
        append_rows(file, [{}], durable=True)
        assert synced == [file.fileno()]


def test_a_full_disk_is_an_error():
    with pytest.raises(OSError, match="No space left") as error:
        append_rows(FullDisk(), [{"a": 1}])
    assert error.value.errno == errno.ENOSPC
