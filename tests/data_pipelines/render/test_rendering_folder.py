"""The folder of a corpus that is being rendered: its journal after a power loss, and its lock."""

import fcntl
import json
import os

import pytest
from rendered_corpora import content, render, write_clips

from audiosep_jax.errors import AudioSepError
from data_pipelines.render import corpus, lock
from data_pipelines.render.from_manifest import render_from_manifest


@pytest.fixture
def clips(tmp_path):
    return write_clips(tmp_path / "clips")


@pytest.mark.parametrize("left", [b"", b"\0\0\0\n", b"\xff\xfe"])
def test_a_lost_journal_starts_the_rendering_anew_or_is_an_error(clips, tmp_path, left):
    root, out = tmp_path / "clips", tmp_path / "out"
    render(clips, root, tmp_path / "whole")
    out.mkdir()
    (out / ".rendering.jsonl").write_bytes(left)
    render(clips, root, out)
    assert content(out) == content(tmp_path / "whole")
    (out / "manifest.json").unlink()
    (out / ".rendering.jsonl").write_bytes(left)
    with pytest.raises(
        AudioSepError, match="holds files of an interrupted rendering without its journal: remove"
    ):
        render(clips, root, out)


def test_the_journal_is_on_the_disk_before_the_first_file(clips, tmp_path, monkeypatch):
    out, synced, written = tmp_path / "out", set(), []
    sync, write = os.fsync, corpus.write_whole

    def noted(descriptor):
        synced.add(os.fstat(descriptor).st_ino)
        sync(descriptor)

    def first_synced(path, data):
        written.append(path)
        assert {(out / ".rendering.jsonl").stat().st_ino, out.stat().st_ino} <= synced
        assert "plan" in json.loads((out / ".rendering.jsonl").read_text().splitlines()[0])
        write(path, data)

    monkeypatch.setattr(corpus.os, "fsync", noted)
    monkeypatch.setattr(corpus, "write_whole", first_synced)
    render(clips, tmp_path / "clips", out)
    assert len(written) == 20


def test_a_second_process_is_refused_and_removes_nothing(clips, tmp_path):
    root, out = tmp_path / "clips", tmp_path / "out"
    render(clips, root, tmp_path / "whole")
    sentences = []

    def second(done, _total):
        if done != 4:
            return
        (out / ".segment-8-abc.wav").write_bytes(b"half")  # what the first is writing
        for again in (
            lambda: render(clips, root, out),
            lambda: render_from_manifest(tmp_path / "whole" / "manifest.json", root=root, out=out),
        ):
            with pytest.raises(AudioSepError, match=r"another process renders into .*: wait for it") as error:
                again()
            sentences.append(str(error.value))
        assert (out / ".segment-8-abc.wav").read_bytes() == b"half"
        (out / ".segment-8-abc.wav").unlink()

    render(clips, root, out, progress=second)
    assert len(sentences) == 2
    assert content(out) == content(tmp_path / "whole")


def test_a_lock_that_was_removed_meanwhile_is_not_held(tmp_path, monkeypatch):
    """The first process ends between the opening and the locking of the second."""
    lock_file, real = tmp_path / lock.LOCK, fcntl.flock
    opened = []

    def ends(file, operation):
        opened.append(os.fstat(file.fileno()).st_ino)
        if len(opened) == 1:
            lock_file.unlink()
            lock_file.touch()
        real(file, operation)

    monkeypatch.setattr(fcntl, "flock", ends)
    with lock.only_rendering_in(tmp_path):
        assert len(opened) == 2
        assert opened[1] == lock_file.stat().st_ino != opened[0]
    assert not lock_file.exists()
