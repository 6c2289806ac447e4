import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from audiosep_jax.encoders import condition_files
from audiosep_jax.encoders.cache import ConditionCache
from audiosep_jax.errors import AudioSepError

CAPTIONS = ["rain", "a dog barking", "Glocken läuten", "雨の音", "rain"]


class CountingEncoder:
    """Draws conditions from the hash of text and fingerprint, and records the texts."""

    def __init__(self, fingerprint="a" * 64, size=6):
        self.condition_size = size
        self.fingerprint = fingerprint
        self.asked = []

    def encode(self, texts):
        self.asked += texts
        return np.stack([self.condition(text) for text in texts])

    def condition(self, text):
        seed = hashlib.sha256((self.fingerprint + text).encode()).digest()
        return np.random.default_rng(list(seed)).standard_normal(self.condition_size).astype(np.float32)


def expected(encoder, captions):
    return np.stack([encoder.condition(caption) for caption in captions])


def test_each_caption_is_computed_once():
    encoder = CountingEncoder()
    cache = ConditionCache(encoder)
    np.testing.assert_array_equal(cache.conditions(CAPTIONS), expected(encoder, CAPTIONS))
    np.testing.assert_array_equal(cache.conditions(["wind", "rain"]), expected(encoder, ["wind", "rain"]))
    assert encoder.asked == [*CAPTIONS[:4], "wind"]
    assert cache.conditions([]).shape == (0, 6)


def test_a_caller_cannot_change_cached_conditions():
    encoder = CountingEncoder()
    cache = ConditionCache(encoder)
    cache.conditions(["rain"])[:] = 0
    np.testing.assert_array_equal(cache.conditions(["rain"]), expected(encoder, ["rain"]))


def test_a_file_serves_the_next_process(tmp_path):
    first = ConditionCache(CountingEncoder(), folder=tmp_path / "new" / "folder")
    wanted = first.conditions(CAPTIONS)
    encoder = CountingEncoder()
    second = ConditionCache(encoder, folder=tmp_path / "new" / "folder")
    np.testing.assert_array_equal(second.conditions(CAPTIONS), wanted)
    assert encoder.asked == []
    assert os.listdir(tmp_path / "new" / "folder") == [path.name for path in second.files()]


def test_files_of_another_process_stay(tmp_path):
    one, other = (ConditionCache(CountingEncoder(), folder=tmp_path) for _ in range(2))
    one.conditions(["rain"])
    other.conditions(["wind"])
    one.conditions(["dog"])
    encoder = CountingEncoder()
    ConditionCache(encoder, folder=tmp_path).conditions(["rain", "wind", "dog"])
    assert encoder.asked == []


def test_two_encoders_can_share_a_folder(tmp_path):
    one, other = CountingEncoder("1" * 64), CountingEncoder("2" * 64)
    ConditionCache(one, folder=tmp_path).conditions(CAPTIONS)
    got = ConditionCache(other, folder=tmp_path).conditions(CAPTIONS)
    np.testing.assert_array_equal(got, expected(other, CAPTIONS))
    assert len(list(tmp_path.iterdir())) == 2


def test_a_file_of_another_fingerprint_is_not_read(tmp_path):
    # The names of the files agree, the fingerprints do not: only the metadata can tell.
    one, other = CountingEncoder("1" * 64), CountingEncoder("1" * 63 + "2")
    ConditionCache(one, folder=tmp_path).conditions(CAPTIONS)
    got = ConditionCache(other, folder=tmp_path).conditions(CAPTIONS)
    np.testing.assert_array_equal(got, expected(other, CAPTIONS))
    again = ConditionCache(CountingEncoder("1" * 63 + "2"), folder=tmp_path)
    assert sorted(again._rows) == sorted(set(CAPTIONS))


def one_file(cache):
    (path,) = cache.files()
    return path


def test_conditions_of_a_dataset_are_neither_computed_nor_copied(tmp_path):
    ConditionCache(CountingEncoder(), folder=tmp_path / "dataset").conditions(CAPTIONS)
    ConditionCache(CountingEncoder("b" * 64), folder=tmp_path / "other tower").conditions(CAPTIONS)
    encoder = CountingEncoder()
    beside = [tmp_path / "dataset", tmp_path / "other tower", tmp_path / "none"]
    with pytest.warns(UserWarning, match=r"bbb.* is of another tower and is not used: prepare .*other tower"):
        cache = ConditionCache(encoder, folder=tmp_path / "work", beside=beside)
    np.testing.assert_array_equal(cache.conditions(CAPTIONS), expected(encoder, CAPTIONS))
    assert encoder.asked == []
    assert cache.files() == []
    cache.conditions(["wind"])
    assert list(load_file(one_file(cache))["ends"]) == [4]
    # The names of the files agree, the fingerprints do not: only the metadata can tell.
    mistaken = CountingEncoder("a" * 63 + "b")
    ConditionCache(mistaken, beside=[tmp_path / "dataset"]).conditions(["rain"])
    assert mistaken.asked == ["rain"]


def test_storing_conditions_of_a_dataset_resumes_after_an_interruption(tmp_path, monkeypatch):
    monkeypatch.setattr(condition_files, "CAPTIONS_PER_FILE", 4)
    captions = [f"caption {number}" for number in range(10)]
    whole = condition_files.store(tmp_path / "whole", CountingEncoder(), captions)
    assert len(whole) == 3

    class Dying(CountingEncoder):
        def encode(self, texts):
            if self.asked:
                raise KeyboardInterrupt
            return super().encode(texts)

    with pytest.raises(KeyboardInterrupt):
        condition_files.store(tmp_path / "other", Dying(), captions)
    encoder = CountingEncoder()
    other = condition_files.store(tmp_path / "other", encoder, captions[::-1] + captions[:3])
    assert len(encoder.asked) == 6
    assert [path.name for path in other] == [path.name for path in whole]
    assert [path.read_bytes() for path in other] == [path.read_bytes() for path in whole]
    assert condition_files.store(tmp_path / "none", encoder, []) == []
    asked = CountingEncoder()
    ConditionCache(asked, beside=[tmp_path / "other"]).conditions(captions)
    assert asked.asked == []


def test_merging_writes_n_log_n_bytes_and_leaves_few_files(tmp_path, monkeypatch):
    written = []
    replace = os.replace

    def noted(source, target):
        written.append(os.path.getsize(source))
        replace(source, target)

    monkeypatch.setattr(os, "replace", noted)
    encoder = CountingEncoder(size=512)
    cache = ConditionCache(encoder, folder=tmp_path)
    for number in range(100):
        cache.conditions([f"caption {number} {part}" for part in range(4)])
    final = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert sum(written) < 4 * final  # rewritten as a whole each time it would be 50
    assert len(cache.files()) <= 14
    again = CountingEncoder(size=512)
    captions = [f"caption {number} {part}" for number in range(100) for part in range(4)]
    got = ConditionCache(again, folder=tmp_path).conditions(captions)
    np.testing.assert_array_equal(got, expected(again, captions))
    assert again.asked == []


def test_a_process_that_is_killed_while_it_merges_loses_nothing(tmp_path, monkeypatch):
    encoder = CountingEncoder()
    cache = ConditionCache(encoder, folder=tmp_path)
    captions = [f"caption {number}" for number in range(8)]
    for caption in captions[:-1]:
        cache.conditions([caption])
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        cache.conditions(captions[-1:])
    monkeypatch.undo()
    again = CountingEncoder()
    ConditionCache(again, folder=tmp_path).conditions(captions)
    assert again.asked == []


def test_a_file_that_is_merged_while_it_is_read_is_found_again(tmp_path, monkeypatch):
    cache = ConditionCache(CountingEncoder(), folder=tmp_path)
    for number in range(7):
        cache.conditions([f"caption {number}"])
    read = ConditionCache._read

    def merging(self, path):
        monkeypatch.undo()
        cache.conditions(["caption 7"])
        return read(self, path)

    monkeypatch.setattr(ConditionCache, "_read", merging)
    again = CountingEncoder()
    ConditionCache(again, folder=tmp_path).conditions([f"caption {number}" for number in range(8)])
    assert again.asked == []


def test_the_one_file_of_earlier_versions_is_read(tmp_path):
    encoder = CountingEncoder()
    cache = ConditionCache(encoder, folder=tmp_path)
    cache.conditions(["rain"])
    one_file(cache).rename(tmp_path / f"conditions-{'a' * 16}.safetensors")
    again = CountingEncoder()
    ConditionCache(again, folder=tmp_path).conditions(["rain"])
    assert again.asked == []


def truncate(path):
    path.write_bytes(path.read_bytes()[:-7])


def empty(path):
    path.write_bytes(b"")


def poison(path):
    tensors = load_file(path)
    tensors["conditions"] = tensors["conditions"].copy()
    tensors["conditions"][0, 0] = np.nan
    save_file(tensors, path, metadata={"fingerprint": "a" * 64})


def drop_a_row(path):
    tensors = load_file(path)
    tensors["conditions"] = tensors["conditions"][:-1].copy()
    save_file(tensors, path, metadata={"fingerprint": "a" * 64})


@pytest.mark.parametrize("damage", [truncate, empty, poison, drop_a_row])
def test_conditions_of_a_damaged_file_are_computed_again(tmp_path, damage):
    cache = ConditionCache(CountingEncoder(), folder=tmp_path)
    cache.conditions(CAPTIONS)
    damage(one_file(cache))
    encoder = CountingEncoder()
    with pytest.warns(UserWarning, match="is broken, so its conditions are computed again"):
        cache = ConditionCache(encoder, folder=tmp_path)
    got = cache.conditions(CAPTIONS)
    np.testing.assert_array_equal(got, expected(encoder, CAPTIONS))
    assert sorted(ConditionCache(CountingEncoder(), folder=tmp_path)._rows) == sorted(set(CAPTIONS))


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    cache = ConditionCache(CountingEncoder(), folder=tmp_path)
    cache.conditions(["rain"])

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(AudioSepError, match=r"conditions-.* cannot be written: No space left"):
        cache.conditions(["wind"])
    monkeypatch.undo()
    assert os.listdir(tmp_path) == [one_file(cache).name]
    assert sorted(ConditionCache(CountingEncoder(), folder=tmp_path)._rows) == ["rain"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    cache = ConditionCache(CountingEncoder(), folder=tmp_path / "file" / "cache")
    with pytest.raises(AudioSepError, match="cannot be written"):
        cache.conditions(["rain"])


def test_a_bare_string_is_refused():
    with pytest.raises(AudioSepError, match="list of captions"):
        ConditionCache(CountingEncoder()).conditions("rain")


def test_two_processes_write_while_a_third_reads(tmp_path):
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from test_condition_cache import CountingEncoder, ConditionCache\n"
        "cache = ConditionCache(CountingEncoder(), folder=sys.argv[2])\n"
        "for i in range(60): cache.conditions([f'{sys.argv[3]} {i}'])\n"
    )
    here = os.path.dirname(__file__)
    writers = [
        subprocess.Popen([sys.executable, "-W", "error", "-c", script, here, str(tmp_path), name])
        for name in "AB"
    ]
    seen = 0
    while any(writer.poll() is None for writer in writers):
        # A torn file would warn, and warnings fail: read as strictly as the writers.
        encoder = CountingEncoder()
        rows = ConditionCache(encoder, folder=tmp_path)._rows
        for caption, condition in rows.items():
            np.testing.assert_array_equal(condition, encoder.condition(caption))
        seen = max(seen, len(rows))
    assert [writer.wait() for writer in writers] == [0, 0]
    final = ConditionCache(CountingEncoder(), folder=tmp_path)._rows
    assert set(final) == {f"{name} {i}" for name in "AB" for i in range(60)}
    assert not list(tmp_path.glob(".*"))
