"""Builds that are interrupted at any point and in any way, and resumed."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pipelines_sounds import RATE, digests, prepared, tone, write_folder, write_table, write_wav

from audiosep_jax.errors import AudioSepError
from data_pipelines.corpora.audio_folder import AudioFolder
from data_pipelines.prepare.build import prepare
from data_pipelines.prepare.encoding import Recorder

HELPERS = Path(__file__).parents[2] / "helpers"


@pytest.fixture
def counted(monkeypatch):
    """Returns the files that are read, in order."""
    read = []
    record = Recorder.__call__

    def counting(self, row):
        read.append(row.file)
        return record(self, row)

    monkeypatch.setattr(Recorder, "__call__", counting)
    return read


def cut_off(source, out, *, after, error=KeyboardInterrupt, **options):
    """Starts a build with four clips per shard and interrupts it after some clips."""
    clips = iter(range(after - 1))

    def on_clip():
        if next(clips, None) is None:
            raise error

    with pytest.raises(error):
        prepared(source, out, workers=1, clips_per_shard=4, on_clip=on_clip, **options)


@pytest.mark.parametrize("every", [25, pytest.param(1, marks=pytest.mark.slow)])
def test_a_build_that_is_killed_at_any_step_ends_with_the_same_bytes(tones, tmp_path, every):
    command = [sys.executable, HELPERS / "kill_points.py", tones, tmp_path, str(every)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 40


def test_finished_clips_are_not_read_again(tones, tmp_path, counted):
    whole = prepared(tones, tmp_path / "whole", clips_per_shard=4)
    out = tmp_path / "out"
    cut_off(tones, out, after=10)
    assert not out.exists()
    counted.clear()
    told = []
    options = {"sample_rate_hz": RATE, "clips_per_shard": 4, "workers": 3}
    prepare(lambda work: AudioFolder(source=tones, data_dir=work, **options), out, on_resume=told.append)
    assert told == [8]
    assert len(counted) == 4
    assert digests(out) == digests(whole)
    assert sorted(os.listdir(tmp_path)) == ["out", "whole"]


@pytest.mark.parametrize(
    "options", [{"sample_rate_hz": 16_000}, {"clips_per_shard": 3}, {"validation_share": 0.4}]
)
def test_other_options_use_nothing_of_an_unfinished_build(tones, tmp_path, counted, options):
    cut_off(tones, tmp_path / "out", after=10)
    counted.clear()
    prepared(tones, tmp_path / "out", **{"clips_per_shard": 4, **options})
    assert len(counted) == 12
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("options", [{"workers": 5}, {"max_failed_share": 0.3}, {"expects_missing": True}])
def test_options_that_do_not_change_the_records_may_change(tones, tmp_path, counted, options):
    cut_off(tones, tmp_path / "out", after=10)
    counted.clear()
    prepared(tones, tmp_path / "out", clips_per_shard=4, **options)
    assert len(counted) == 4


def test_another_caption_starts_the_build_anew(tmp_path, counted):
    source = write_folder(tmp_path / "source", seconds=0.2)
    cut_off(source, tmp_path / "out", after=10)
    table = source / "clips.csv"
    table.write_text(table.read_text().replace("a tone of 3", "another tone of 3"))
    counted.clear()
    prepared(source, tmp_path / "out", clips_per_shard=4)
    assert len(counted) == 12


def test_a_sound_that_changed_during_the_interruption_is_read_again(tmp_path, counted):
    source = write_folder(tmp_path / "source", seconds=0.2)
    cut_off(source, tmp_path / "out", after=10)
    first = counted[0]
    write_wav(source / first, tone(99, seconds=0.3))
    counted.clear()
    out = prepared(source, tmp_path / "out", clips_per_shard=4)
    assert len(counted) == 8
    assert first in counted
    assert digests(out) == digests(prepared(source, tmp_path / "whole", clips_per_shard=4))


def test_a_missing_file_that_was_added_during_the_interruption_is_used(tmp_path, counted):
    source = write_folder(tmp_path / "source", seconds=0.2)
    cut_off(source, tmp_path / "probe", after=10)
    late = source / counted[1]
    sound = late.read_bytes()
    late.unlink()
    cut_off(source, tmp_path / "out", after=10, expects_missing=True)
    late.write_bytes(sound)
    out = prepared(source, tmp_path / "out", clips_per_shard=4, expects_missing=True)
    report = json.loads((out / "report.json").read_text())
    assert (report["prepared"], report["missing"]) == ({"train": 12}, [])


def damage(path):
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 1)


@pytest.mark.parametrize(
    ("pattern", "harm"),
    [
        ("*.array_record", damage),
        ("*.array_record", Path.unlink),
        ("*.jsonl", Path.unlink),
        ("*.jsonl", lambda path: path.write_text("{}\n")),
        ("*.jsonl", lambda path: path.write_text("")),
    ],
)
def test_a_shard_that_a_power_loss_damaged_is_made_again(tones, tmp_path, counted, pattern, harm):
    whole = prepared(tones, tmp_path / "whole", clips_per_shard=4)
    cut_off(tones, tmp_path / "out", after=10)
    harm(min((tmp_path / ".out.preparing").glob(f"*/{pattern}")))
    counted.clear()
    assert digests(prepared(tones, tmp_path / "out", clips_per_shard=4)) == digests(whole)
    assert len(counted) == 8


def test_a_failed_build_keeps_finished_shards_and_retries_failed_clips(tmp_path, counted):
    source = write_folder(tmp_path / "source", seconds=0.2)
    order = [row.file for shard in builder(source, tmp_path).shards for row in shard.rows]
    for file in order[5:8]:
        (source / file).write_bytes(b"")
    with pytest.raises(AudioSepError, match=r"cannot be used, more than the allowed share of 0.1"):
        prepared(source, tmp_path / "out", clips_per_shard=4, workers=1, max_failed_share=0.1)
    assert not (tmp_path / "out").exists()
    assert len(list((tmp_path / ".out.preparing").glob("*/*.array_record"))) == 1
    counted.clear()
    out = prepared(source, tmp_path / "out", clips_per_shard=4, max_failed_share=0.25)
    assert set(counted) == set(order[4:])
    skipped = json.loads((out / "report.json").read_text())["skipped"]
    assert [clip["file"] for clip in skipped] == sorted(order[5:8])
    assert sorted(os.listdir(tmp_path)) == ["out", "source"]


def builder(source, work):
    return AudioFolder(source=source, sample_rate_hz=RATE, clips_per_shard=4, data_dir=work)


def test_missing_clips_leave_no_empty_files_and_no_empty_splits(tmp_path):
    source = tmp_path / "source"
    rows = [{"file": f"{n}.wav", "captions": "a", "split": "test" if n > 20 else "train"} for n in range(24)]
    source.mkdir()
    write_table(source / "clips.csv", rows)
    order = [row.file for shard in builder(source, tmp_path).shards for row in shard.rows]
    there = set(order[:4]) | set(order[8:10])  # of the split "test" first, then of "train"
    for file in there:
        write_wav(source / file, tone(int(file[:-4]), seconds=0.1))
    out = prepared(source, tmp_path / "out", clips_per_shard=4, expects_missing=True)
    names = sorted(path.name for path in out.glob("*.array_record*"))
    report = json.loads((out / "report.json").read_text())
    assert names == [
        "audio_folder-test.array_record-00000-of-00001",
        "audio_folder-train.array_record-00000-of-00002",
        "audio_folder-train.array_record-00001-of-00002",
    ]
    assert report["prepared"] == {"test": 3, "train": 3}
    assert (report["total"], len(report["missing"]), report["skipped"]) == (24, 18, [])


def test_a_corpus_without_any_file_is_an_error(tmp_path):
    source = write_folder(tmp_path / "source", seconds=0.1)
    for path in source.glob("*.wav"):
        path.unlink()
    with pytest.raises(AudioSepError, match=r"none of its 12 clips is there, the first is 00\.wav"):
        prepared(source, tmp_path / "out", expects_missing=True)
    assert not (tmp_path / "out").exists()


def test_too_many_bad_clips_are_counted_among_the_existing_ones(tmp_path):
    source = write_folder(tmp_path / "source", seconds=0.1)
    for number in range(10):
        (source / f"{number:02}.wav").unlink()
    write_wav(source / "10.wav", np.zeros(800))
    with pytest.raises(AudioSepError, match="1 of 2 clips cannot be used"):
        prepared(source, tmp_path / "out", max_failed_share=0.2, expects_missing=True)


def test_a_second_build_of_the_same_dataset_is_refused(tones, tmp_path):
    def meanwhile():
        with pytest.raises(AudioSepError, match=r"another process is preparing .*out: wait for it"):
            prepared(tones, tmp_path / "out")

    out = prepared(tones, tmp_path / "out", on_clip=meanwhile)
    assert digests(out) == digests(prepared(tones, tmp_path / "other"))


def test_a_full_disk_is_named_and_the_build_can_be_resumed(tones, tmp_path, monkeypatch, counted):
    written = []
    replace = os.replace

    def full(source, target):
        if str(target).endswith(".jsonl"):
            written.append(target)
            if len(written) == 3:
                raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(AudioSepError, match=r"cannot be written: No space left on device; make room"):
        prepared(tones, tmp_path / "out", clips_per_shard=4)
    monkeypatch.undo()
    assert not list((tmp_path / ".out.preparing").glob("*/.*"))
    reads = len(counted)
    out = prepared(tones, tmp_path / "out", clips_per_shard=4)
    assert len(counted) <= reads
    assert digests(out) == digests(prepared(tones, tmp_path / "whole", clips_per_shard=4))


@pytest.mark.parametrize("limit", [20_000, 100_000])
def test_a_file_that_cannot_grow_ends_the_build_with_a_sentence(tones, tmp_path, limit):
    # What the system says then comes through the C++ that writes records, as on a full disk.
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(AudioSepError, match=r"cannot be written: .*File too large.*; make room"):
            prepared(tones, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path) == []
    assert digests(prepared(tones, tmp_path / "out")) == digests(prepared(tones, tmp_path / "other"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_named(tones, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(AudioSepError, match=r"\.out\.preparing cannot be written .*: choose another --out"):
        prepared(tones, tmp_path / "out")


def test_a_folder_below_a_file_is_named(tones, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(AudioSepError, match=r"\.out\.preparing cannot be written .*: choose another --out"):
        prepared(tones, tmp_path / "file" / "out")


def test_a_file_system_without_hard_links_gets_copies(tones, tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    out = prepared(tones, tmp_path / "out", clips_per_shard=4)
    monkeypatch.undo()
    assert digests(out) == digests(prepared(tones, tmp_path / "whole", clips_per_shard=4))


def test_a_clip_that_is_listed_twice_is_refused(tmp_path):
    class Twice(AudioFolder):
        def read_rows(self):
            return [*super().read_rows()] * 2

    write_table(tmp_path / "clips.csv", [{"file": "a.wav", "captions": "x"}])
    with pytest.raises(AudioSepError, match=r"'a\.wav' is listed twice in the split 'train'"):
        Twice(source=tmp_path, data_dir=tmp_path / "out")


def test_tfds_s_own_command_writes_the_same_records(tones, tmp_path):
    made = builder(tones, tmp_path / "tfds")
    made.download_and_prepare()
    ours = digests(prepared(tones, tmp_path / "out", clips_per_shard=4))
    theirs = digests(Path(made.data_dir))
    records = {name: digest for name, digest in ours.items() if "array_record" in name}
    assert len(records) == 3
    assert {name: theirs[name] for name in records} == records
