import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from audiosep_jax.errors import AudioSepError
from audiosep_jax.web.limits import Limits
from audiosep_jax.web.storage import Storage

DIGEST = "0123456789abcdef" * 4


@pytest.fixture
def storage(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with Storage(Limits(kept_seconds=60, upload_bytes=1000)) as storage:
        yield storage


def put(storage, name="street.wav", digest=DIGEST, content=b"sound"):
    path = storage.uploads / digest / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


def make(storage, session="page", name="estimate.wav", content=b"sound"):
    with storage.result(session, needs_bytes=len(content)) as result:
        (result.folder / name).write_bytes(content)
    return result


def test_a_result_is_found_only_by_its_random_name(storage):
    result = make(storage)
    assert storage.find(result.token, "estimate.wav") == result.folder / "estimate.wav"
    for token, name in (
        (result.token, "../" + result.token + "/estimate.wav"),
        (result.token, "residual.wav"),
        (result.token, ""),
        ("", "estimate.wav"),
        (".", result.token),
        (f"{result.token}/", "estimate.wav"),
        (str(result.folder), "estimate.wav"),
    ):
        assert storage.find(token, name) is None


def test_tokens_are_long_and_unique(storage):
    tokens = {make(storage).token for _ in range(50)}
    assert len(tokens) == 50
    assert min(map(len, tokens)) >= 32


def test_a_failed_separation_leaves_no_folder(storage):
    def fail():
        with storage.result("page") as result:
            (result.folder / "estimate.wav").write_bytes(b"half")
            raise KeyError(result.token)

    with pytest.raises(KeyError) as failed:
        fail()
    assert storage.find(failed.value.args[0], "estimate.wav") is None
    assert list((storage.folder / "results").iterdir()) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "street.wav",
        "/etc/passwd",
        "{uploads}",
        "{uploads}/",
        "{uploads}/street.wav",
        "{uploads}/{digest}",
        "{uploads}/{digest}/",
        "{uploads}/{digest}/.",
        "{uploads}/{digest}/..",
        "{uploads}/{digest}/../../examples/a.wav",
        "{uploads}/{digest}/a/b.wav",
        "{uploads}/{digest}//etc/passwd",
        "{uploads}/../uploads/{digest}/a.wav",
        "{uploads}/./{digest}/a.wav",
        "{uploads}//{digest}/a.wav",
        "{uploads}x/{digest}/a.wav",
        "{uploads}/{digest}/a\0.wav",
        "{uploads}/" + "g" * 64 + "/a.wav",
        "{uploads}/" + "A" * 64 + "/a.wav",
        "{uploads}/" + "a" * 63 + "/a.wav",
        "{uploads}/" + "a" * 65 + "/a.wav",
        "{uploads}/" + "٣" * 64 + "/a.wav",
        "file://{uploads}/{digest}/a.wav",
        "http://127.0.0.1/{digest}/a.wav",
        "~/a.wav",
        " {uploads}/{digest}/a.wav",
    ],
)
def test_other_texts_are_not_upload_paths(storage, text):
    assert not storage.is_upload(text.format(uploads=storage.uploads, digest=DIGEST))


@pytest.mark.parametrize("name", ["street.wav", "…", "a b", "🐕.wav", "...", "-rf", "100%.wav", "%2e%2e%2f"])
def test_an_upload_path_need_not_exist(storage, name):
    assert storage.is_upload(f"{storage.uploads}/{DIGEST}/{name}")


def test_closing_a_page_deletes_only_its_own_files(storage):
    shared, own = put(storage), put(storage, digest="f" * 64)
    storage.use(shared, "first")
    storage.use(shared, "second")
    storage.use(own, "first")
    first, second = make(storage, "first"), make(storage, "second")
    storage.release("first")
    assert not own.exists()
    assert not own.parent.exists()
    assert shared.exists()
    assert not first.folder.exists()
    assert storage.find(first.token, "estimate.wav") is None
    assert storage.find(second.token, "estimate.wav")
    storage.release("second")
    assert not shared.exists()
    storage.release("second")
    storage.release("unknown")


def test_old_files_are_swept_unless_used_again(storage, monkeypatch):
    old, used, result = put(storage), put(storage, digest="f" * 64), make(storage)
    storage.use(old, "page")
    broken = storage.uploads / "tmpabc"
    broken.write_bytes(b"half")
    now = time.time()
    os.utime(broken, (now - 100, now - 100))
    monkeypatch.setattr("time.time", lambda: now + 50)
    storage.sweep()
    assert old.exists()
    assert not broken.exists()
    assert storage.find(result.token, "estimate.wav")
    monkeypatch.setattr("time.time", lambda: now + 3600)
    storage.sweep()
    assert not old.exists()
    assert not used.exists()
    assert not result.folder.exists()
    assert storage.find(result.token, "estimate.wav") is None
    assert list(storage.uploads.iterdir()) == []


def test_deleting_an_upload_does_not_renew_its_result(storage):
    upload, result = put(storage), make(storage)
    os.link(upload, result.folder / "mixture.wav")
    long_ago = time.time() - 7200
    for path in (upload, *result.folder.iterdir(), upload.parent, result.folder):
        os.utime(path, (long_ago, long_ago))
    upload.unlink()
    os.utime(upload.parent, (long_ago, long_ago))
    storage.sweep()
    assert not result.folder.exists()
    assert not upload.parent.exists()


def test_the_janitor_thread_sweeps(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with Storage(Limits(kept_seconds=0.2)) as storage:
        path = put(storage)
        deadline = time.monotonic() + 20
        while path.exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_storage_is_full_before_another_upload_would_not_fit(storage):
    assert not storage.is_full()
    put(storage, content=bytes(18_999))
    assert not storage.is_full()
    put(storage, content=bytes(2), digest="f" * 64)
    assert storage.is_full()


def test_the_oldest_result_of_the_page_makes_room(storage):
    """At most 20,000 bytes in all."""
    other, *own = (
        make(storage, "other", content=bytes(3000)),
        *(make(storage, content=bytes(4000)) for _ in "1234"),
    )
    assert all(result.folder.exists() for result in (other, *own))
    assert storage.is_full(1)
    new = make(storage, content=bytes(6000))
    assert [result.folder.exists() for result in own] == [False, False, True, True]
    assert [bool(storage.find(result.token, "estimate.wav")) for result in own] == [False, False, True, True]
    assert storage.find(other.token, "estimate.wav")
    assert storage.find(new.token, "estimate.wav")
    with pytest.raises(AudioSepError, match="storage of this page is full: try again in some minutes"):
        make(storage, "third", content=bytes(4000))
    assert storage.find(other.token, "estimate.wav")
    with pytest.raises(AudioSepError, match=r"would take 1 MB, and this page keeps 0 MB.*shorter recording"):
        make(storage, content=bytes(1_000_000))
    assert storage.find(new.token, "estimate.wav")
    assert {path.name for path in (storage.folder / "results").iterdir()} == {
        result.token for result in (other, *own[2:], new)
    }


def test_results_in_progress_count_with_their_full_size(storage):
    with storage.result("page", needs_bytes=19_500) as result:
        (result.folder / "estimate.wav").write_bytes(bytes(10_000))
        assert storage.is_full()
        with pytest.raises(AudioSepError, match="storage of this page is full"):
            make(storage, "other", content=bytes(600))
        make(storage, "other", content=bytes(400))


def test_hard_links_count_once(storage):
    upload = put(storage, content=bytes(10_000))
    with storage.result("page", needs_bytes=8000) as result:
        (result.folder / "mixture.wav").hardlink_to(upload)
    assert not storage.is_full()
    put(storage, content=bytes(9500), digest="f" * 64)
    assert storage.is_full()


def test_uploads_being_received_count(storage):
    put(storage, content=bytes(17_000))
    assert not storage.is_full(2)
    assert storage.is_full(3)


def test_nothing_is_left_at_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def fail():
        with Storage(Limits()) as storage:
            put(storage)
            make(storage)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert list(tmp_path.iterdir()) == []


HELD = """
import sys, time
from audiosep_jax.web.limits import Limits
from audiosep_jax.web.storage import Storage

with Storage(Limits()) as storage:
    (storage.uploads / "rest").write_bytes(b"sound")
    print(storage.folder, flush=True)
    time.sleep(600)
"""


def test_only_folders_of_killed_servers_are_deleted(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "held").touch()
    linked, foreign = tmp_path / "audiosep-web-link", tmp_path / "audiosep-web-foreign"
    linked.symlink_to(elsewhere)
    foreign.mkdir()
    (tmp_path / "audiosep-web-file").touch()
    process = subprocess.Popen(
        [sys.executable, "-c", HELD],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )
    with process:
        left = Path(process.stdout.readline().strip())
        with Storage(Limits()) as one, Storage(Limits()) as other:
            assert one.folder.exists()
            assert other.folder.exists()
            assert left.exists()
        process.kill()
    assert (left / "uploads" / "rest").exists()
    with Storage(Limits()):
        assert not left.exists()
    assert {path.name for path in tmp_path.iterdir()} == {
        *("elsewhere", "audiosep-web-link", "audiosep-web-foreign", "audiosep-web-file")
    }
    assert (elsewhere / "held").exists()


def test_a_missing_temporary_folder_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    with pytest.raises(AudioSepError, match="No temporary folder can be made"):
        Storage(Limits())
