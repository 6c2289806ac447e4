"""Local work directories, and work directories in the bucket of a small server."""

import json
import os
import sys
from pathlib import Path

import fake_gcs
import pytest

from audiosep_jax.errors import AudioSepError
from audiosep_jax.train import run_lock, storage


@pytest.mark.parametrize("address", ["gs://bucket/run", Path("gs://bucket/run")], ids=["text", "path"])
def test_an_address_is_known_even_after_pathlib_removed_a_slash(address):
    assert storage.is_remote(address)
    assert not storage.is_remote("/tmp/gs:/run")
    assert not storage.is_remote("runs/one")


def test_a_local_folder_is_made_and_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert os.fspath(storage.work_directory("a/b")) == str(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


def test_what_is_missing_for_a_bucket_is_named(monkeypatch):
    from etils.epath import backend

    backend.fsspec_backend._get_filesystem.cache_clear()
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(AudioSepError) as error:
        storage.work_directory("gs://bucket/run")
    assert str(error.value) == "work directory gs://bucket/run needs the package gcsfs: pip install gcsfs."


def test_another_scheme_is_refused():
    with pytest.raises(AudioSepError, match=r"s3:// is not supported; give a local folder, or gs://"):
        storage.work_directory("s3://bucket/run")


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = storage.work_directory(tmp_path) / "record.json"
    path.write_text("old")

    def fail():
        with storage.replacing_file(path) as temporary:
            temporary.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.read_text() == "old"
    with storage.replacing_file(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"
    assert [file.name for file in tmp_path.iterdir()] == ["record.json"]


@pytest.fixture
def bucket(monkeypatch):
    from etils.epath import backend

    with fake_gcs.serving() as (address, bucket):
        for name, value in fake_gcs.environment(address).items():
            monkeypatch.setenv(name, value)
        import gcsfs

        backend.fsspec_backend._get_filesystem.cache_clear()
        gcsfs.GCSFileSystem.clear_instance_cache()
        yield bucket
        backend.fsspec_backend._get_filesystem.cache_clear()
        gcsfs.GCSFileSystem.clear_instance_cache()


@pytest.mark.pod  # needs the extra gcs
def test_files_of_a_bucket_are_written_as_one_object(bucket):
    path = storage.work_directory("gs://bucket/run") / "record.json"
    with storage.replacing_file(path) as temporary:
        temporary.write_text("new")
    assert {name: content for name, (content, _) in bucket.objects.items()} == {"run/record.json": b"new"}
    bucket.refuse = "record"
    said = r"gs://bucket/run/record\.json cannot be written"
    with pytest.raises(AudioSepError, match=said), storage.replacing_file(path) as temporary:
        temporary.write_text("newer")
    assert bucket.objects["run/record.json"][0] == b"new"


@pytest.mark.pod  # needs the extra gcs
def test_a_folder_is_uploaded_when_it_is_whole(bucket):
    path = storage.work_directory("gs://bucket/run") / "best"

    def fail():
        with storage.local_folder(path) as folder:
            (folder / "config.json").write_text("{}")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert bucket.objects == {}
    with storage.local_folder(path) as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "model").write_bytes(b"m" * 1000)
        (folder / "config.json").write_text("{}")
    assert list(bucket.objects) == ["run/best/config.json", "run/best/deep/model"]


@pytest.mark.pod  # needs the extra gcs
def test_in_a_bucket_the_latest_run_wins(bucket, monkeypatch):
    place = storage.work_directory("gs://bucket/run")
    with run_lock.only_run_in(place):
        run_lock.check_held(place)
        later = {"token": "another", "host": "other.host", "process": 77}
        bucket.put("run/.lock", json.dumps(later).encode())
        with pytest.raises(AudioSepError, match=r"taken over gs://bucket/run \(process 77 on other\.host\)"):
            run_lock.check_held(place)
    assert "run/.lock" in bucket.objects  # it is not ours to remove
    with run_lock.only_run_in(place):
        run_lock.check_held(place)
    assert "run/.lock" not in bucket.objects


@pytest.mark.pod  # needs the extra gcs
def test_checkpoints_live_in_a_bucket(bucket):
    from test_run_checkpoints import CONFIG, RunCheckpoints, assert_holds, restore, save, state_of

    save("gs://bucket/run", 3, 5, 7)
    whole = {name.split("/")[2] for name in bucket.objects if name.count("/") == 3}
    assert whole == {"5", "7"}
    # One that lacks its mark is none, and gives way when the same step is saved again.
    del bucket.objects["run/checkpoints/7/commit_success.txt"]
    state, step = restore("gs://bucket/run")
    assert step == 5
    assert_holds(state, 5)
    save("gs://bucket/run", 7)
    assert_holds(restore("gs://bucket/run")[0], 7)
    bucket.refuse = r"checkpoints/9/state/.*d/"
    checkpoints = RunCheckpoints("gs://bucket/run", CONFIG)
    checkpoints.save(state_of(9), step=9)
    with pytest.raises(AudioSepError, match=r"step 9 could not be written to gs://bucket/run/checkpoints: "):
        checkpoints.close()
    bucket.refuse = None
    assert restore("gs://bucket/run")[1] == 7
