"""Folders that take their place whole, exchanged in one step or in two (rules of use: test_targets)."""

import errno
import os
import pathlib

import pytest

from audiosep_jax.utils import staging


@pytest.fixture(params=["exchange", "two steps"])
def steps(request, monkeypatch):
    if request.param == "two steps":
        monkeypatch.setattr(staging, "_exchange", lambda *_: False)


def write(path, text, **options):
    with staging.staged_folder(path, **options) as new:
        (new / "file").write_text(text)


def test_a_new_folder_replaces_the_old_one_and_keeps_what_is_asked_for(steps, tmp_path):
    path = tmp_path / "out"
    write(path, "old")
    (path / "notes").mkdir()
    (path / "notes" / "mine").write_text("mine")
    (path / "other").write_text("other")
    inode = (path / "notes" / "mine").stat().st_ino
    write(path, "new", keep=lambda name: name in ("notes", "file"))
    assert sorted(os.listdir(path)) == ["file", "notes"]
    assert (path / "file").read_text() == "new"
    assert (path / "notes" / "mine").stat().st_ino == inode
    assert os.listdir(tmp_path) == ["out"]


def test_a_block_that_fails_leaves_the_old_folder(steps, tmp_path):
    def fail():
        with staging.staged_folder(tmp_path / "out"):
            raise ZeroDivisionError

    write(tmp_path / "out", "old")
    with pytest.raises(ZeroDivisionError):
        fail()
    assert (tmp_path / "out" / "file").read_text() == "old"
    assert os.listdir(tmp_path) == ["out"]


def test_files_are_copied_where_links_are_not_possible(tmp_path, monkeypatch):
    def refused(*_, **__):
        raise OSError(errno.EPERM, "Operation not permitted")

    write(tmp_path / "out", "old")
    (tmp_path / "out" / "notes").write_text("mine")
    monkeypatch.setattr(os, "link", refused)
    write(tmp_path / "out", "new", keep=lambda name: name == "notes")
    assert (tmp_path / "out" / "file").read_text() == "new"
    assert (tmp_path / "out" / "notes").read_text() == "mine"


def test_a_swap_that_fails_moves_the_old_folder_back(tmp_path, monkeypatch):
    new, path, aside = (tmp_path / name for name in ("new", "out", "aside"))
    write(new, "new")
    write(path, "old")
    rename = os.rename

    def failing(source, target):
        if pathlib.Path(source) == new:
            raise OSError(errno.EBUSY, "Device or resource busy")
        rename(source, target)

    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(OSError, match="busy"):
        staging.swap(new, path, aside=aside)
    monkeypatch.undo()
    assert (new / "file").read_text() == "new"
    assert (path / "file").read_text() == "old"
    staging.swap(new, path, aside=aside)
    assert (path / "file").read_text() == "new"
    assert (aside / "file").read_text() == "old"
    assert not new.exists()
