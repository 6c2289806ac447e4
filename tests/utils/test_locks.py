"""Locks for one process at a time: who is refused, until when, and with which error."""

import errno
import fcntl
import re
import subprocess
import sys

import pytest

from audiosep_jax.errors import AudioSepError, StorageError
from audiosep_jax.evals.suites.journal import Journal
from audiosep_jax.sweeps.workdir import only_sweep_in
from audiosep_jax.train.run_lock import only_run_in
from audiosep_jax.utils.locks import locked
from data_pipelines.prepare.work_folder import WorkFolder
from data_pipelines.render.lock import only_rendering_in

HOLDER = """
import sys
from pathlib import Path
from audiosep_jax.utils.locks import locked
file = locked(Path(sys.argv[1]), busy="busy", instead="go")
print("held", flush=True)
sys.stdin.read()
"""
SAYS = {"busy": "another process works in here", "instead": "choose another place"}
BUSY = "another process works in here: wait for it, or choose another place."


def test_another_process_holds_the_lock_until_it_is_killed(tmp_path):
    path = tmp_path / "lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(AudioSepError) as error:
            locked(path, **SAYS)
        holder.kill()
    assert str(error.value) == BUSY
    locked(path, **SAYS).close()


def test_the_lock_lasts_until_this_process_and_its_heirs_close_the_file(tmp_path):
    path = tmp_path / "lock"
    child = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with locked(path, **SAYS) as file:
        with pytest.raises(AudioSepError, match=re.escape(BUSY)):
            locked(path, **SAYS)
        heir = subprocess.Popen(child, stdin=subprocess.PIPE, pass_fds=[file.fileno()])
    with heir:
        with pytest.raises(AudioSepError, match=re.escape(BUSY)):
            locked(path, **SAYS)
        assert heir.stdin
        heir.stdin.close()
    locked(path, **SAYS).close()


def test_the_content_of_the_file_stays(tmp_path):
    path = tmp_path / "lock"
    path.write_bytes(b"first\n")
    with locked(path, **SAYS) as file:
        file.write(b"second\n")
    assert path.read_bytes() == b"first\nsecond\n"


@pytest.mark.parametrize("replaced", [True, False])
def test_a_file_that_was_removed_meanwhile_is_opened_again(tmp_path, monkeypatch, replaced):
    path, real = tmp_path / "lock", fcntl.flock
    calls = []

    def removed(file, operation):
        calls.append(file)
        if len(calls) == 1:
            path.unlink()
            if replaced:
                path.touch()
        real(file, operation)

    monkeypatch.setattr(fcntl, "flock", removed)
    with locked(path, **SAYS):
        monkeypatch.undo()
        assert len(calls) == 2
        assert calls[0].closed
        with pytest.raises(AudioSepError, match=re.escape(BUSY)):
            locked(path, **SAYS)


def test_a_missing_folder_is_made(tmp_path):
    with locked(tmp_path / "new" / "folder" / "lock", **SAYS):
        assert (tmp_path / "new" / "folder" / "lock").is_file()


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "gone" / "lock")
    for path, reason in (
        (tmp_path / "file" / "lock", "File exists"),
        (tmp_path / "file" / "below" / "lock", "Not a directory"),
        (tmp_path / "dangling", "No such file or directory"),
    ):
        with pytest.raises(StorageError) as error:
            locked(path, **SAYS)
        assert str(error.value) == f"{path.parent} cannot be written ({reason}): choose another place."


@pytest.mark.parametrize(
    ("hold", "folder", "instead"),
    [
        (only_run_in, "out", "choose another --workdir"),
        (only_sweep_in, "out", "choose another --workdir"),
        (only_rendering_in, "out", "choose another folder"),
        (lambda out: Journal(out, {}), "out", "choose another --out"),
        (lambda out: WorkFolder(out).held(), ".out.preparing", "choose another --out"),
    ],
    ids=["training", "sweep", "rendering", "benchmark", "preparing"],
)
def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch, hold, folder, instead):
    def refused(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refused)
    (tmp_path / "out").mkdir()
    with pytest.raises(AudioSepError) as error, hold(tmp_path / "out"):
        pass
    place = tmp_path / folder
    assert str(error.value) == (
        f"{place} lies on a file system without locks (No locks available): {instead}."
    )
