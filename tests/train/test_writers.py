"""Logs in a folder and in a bucket, and on a full disk."""

import json
import os
import shutil

import fsspec
import numpy as np
import pytest
from etils import epath
from etils.epath import backend as epath_backend
from fsspec.implementations.local import LocalFileSystem
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from audiosep_jax.errors import AudioSepError
from audiosep_jax.train import writers
from audiosep_jax.train.workdir import Workdir
from audiosep_jax.train.writers import MetricWriter


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """A folder in place of gs://bucket, and an empty home folder."""
    root = tmp_path / "bucket"
    root.mkdir()

    class Bucket(LocalFileSystem):
        """Like a bucket: files are written whole, and never appended to or renamed."""

        protocol = ("gs", "gcs")
        cachable = False

        @classmethod
        def _strip_protocol(cls, path):
            path = os.fspath(path)
            return str(root / path.removeprefix("gs://bucket").lstrip("/")) if "://" in path else path

        def __init__(self, **_):
            super().__init__(auto_mkdir=True)

        def _open(self, path, mode="rb", **options):
            assert mode in ("rb", "wb")
            return super()._open(path, mode, **options)

        def mv(self, *_, **__):
            raise AssertionError("a bucket does not rename")

    monkeypatch.setattr(epath_backend.fsspec_backend, "_get_filesystem", lambda name: Bucket(), raising=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    assert isinstance(Bucket(), fsspec.AbstractFileSystem)
    assert epath.Path("gs://bucket/run").parent == epath.Path("gs://bucket")
    return root


def steps(folder, name="metrics.jsonl"):
    return [json.loads(line)["step"] for line in (folder / name).read_text().splitlines()]


def board(folder):
    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    return events


def test_a_folder_is_written_in_place(tmp_path):
    workdir = Workdir(tmp_path / "run")
    assert (workdir.local, workdir.remote) == (tmp_path / "run", False)
    writer = MetricWriter(workdir, start_step=0)
    writer.scalars(1, {"loss": 0.5})
    writer.copy_later()
    assert steps(tmp_path / "run") == [1]
    writer.scalars(2, {"loss": 0.25})
    writer.audio(2, "sound", np.float32([0.5, 2.0, -2.0]), sample_rate_hz=8000)
    writer.image(2, "picture", np.zeros((4, 6, 3), np.uint8))
    writer.close()
    read = board(tmp_path / "run")
    assert [(event.step, event.value) for event in read.Scalars("loss")] == [(1, 0.5), (2, 0.25)]
    assert read.Audio("sound")[0].sample_rate == 8000
    assert (read.Images("picture")[0].width, read.Images("picture")[0].height) == (6, 4)


def test_lines_of_later_steps_are_dropped(tmp_path):
    for start, count in ((0, 5), (3, 4)):
        writer = MetricWriter(Workdir(tmp_path), start_step=start)
        for step in range(start + 1, start + count + 1):
            writer.scalars(step, {"loss": float(100 * start + step)})
        writer.close()
    assert steps(tmp_path) == [1, 2, 3, 4, 5, 6, 7]
    values = [(event.step, event.value) for event in board(tmp_path).Scalars("loss")]
    assert values == [(1, 1), (2, 2), (3, 3), (4, 304), (5, 305), (6, 306), (7, 307)]


def test_a_bucket_gets_copies(bucket):
    workdir = Workdir("gs://bucket/run")
    assert workdir.remote
    assert workdir.local.is_relative_to(bucket.parent / "home")
    writer = MetricWriter(workdir, start_step=0)
    writer.scalars(1, {"loss": 0.5})
    assert not (bucket / "run" / "metrics.jsonl").exists()
    writer.copy_later()
    workdir.wait()
    assert steps(bucket / "run") == [1]
    assert [event.step for event in board(bucket / "run").Scalars("loss")] == [1]
    writer.scalars(2, {"loss": 0.25})
    writer.close()
    workdir.wait()
    assert steps(bucket / "run") == [1, 2]


@pytest.mark.parametrize("same_machine", [True, False])
def test_a_restart_copies_the_log_from_the_bucket(bucket, same_machine):
    workdir = Workdir("gs://bucket/run")
    writer = MetricWriter(workdir, start_step=0)
    for step in range(1, 5):
        writer.scalars(step, {"loss": 0.0})
    writer.copy_later()
    workdir.wait()
    writer.scalars(5, {"loss": 0.0})  # after the last copy, and then the process dies
    writer._lines._file.close()
    writer._board.close()
    if not same_machine:
        shutil.rmtree(workdir.local)
    workdir = Workdir("gs://bucket/run")
    writer = MetricWriter(workdir, start_step=4)
    writer.scalars(5, {"loss": 1.0})
    writer.scalars(6, {"loss": 1.0})
    writer.close()
    workdir.wait()
    assert steps(bucket / "run") == [1, 2, 3, 4, 5, 6]
    values = [(event.step, event.value) for event in board(bucket / "run").Scalars("loss")]
    assert values == [(1, 0), (2, 0), (3, 0), (4, 0), (5, 1), (6, 1)]


def test_a_large_event_file_is_followed_by_a_new_one(bucket, monkeypatch):
    monkeypatch.setattr(writers, "_LARGEST_EVENT_FILE", 2000)
    workdir = Workdir("gs://bucket/run")
    writer = MetricWriter(workdir, start_step=0)
    for step in range(100):
        writer.scalars(step, {"loss": float(step)})
        writer.copy_later()
    writer.close()
    workdir.wait()
    files = list((bucket / "run" / "tensorboard").iterdir())
    assert 2 < len(files) < 10
    assert all(file.stat().st_size < 2200 for file in files)
    assert [event.value for event in board(bucket / "run").Scalars("loss")] == list(range(100))


def test_small_files_and_folders_reach_the_bucket_whole(bucket):
    workdir = Workdir("gs://bucket/run")
    assert workdir.read_text("heartbeats/00000.json") is None
    for text in ("a longer one", "b"):
        workdir.write_text("heartbeats/00000.json", text)
        assert workdir.read_text("heartbeats/00000.json") == text
    with workdir.written("best") as folder:
        (folder / "model").write_text("weights")
        assert not (bucket / "run" / "best" / "model").exists()
    assert (bucket / "run" / "best" / "model").read_text() == "weights"


def test_a_copy_that_fails_is_an_error_of_the_run(bucket, monkeypatch):
    workdir = Workdir("gs://bucket/run")
    (workdir.local / "metrics.jsonl").write_text("{}\n")
    (bucket / "run" / "metrics.jsonl").mkdir(parents=True)
    workdir.copy_later("metrics.jsonl")
    with pytest.raises(AudioSepError, match=r"gs://bucket/run/metrics.jsonl cannot be written: "):
        workdir.wait()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_is_an_error_and_not_a_hanging_loop(tmp_path):
    writer = MetricWriter(Workdir(tmp_path), start_step=0)
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(
        AudioSepError, match=r"metrics.jsonl cannot be written: No space left on device; make room"
    ):
        writer.scalars(1, {"loss": 0.5})
    writer.close()
