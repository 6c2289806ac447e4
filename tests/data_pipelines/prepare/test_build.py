import hashlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import tensorflow_datasets as tfds
from array_record.python.array_record_data_source import ArrayRecordDataSource
from pipelines_sounds import RATE, digests, prepared, tone, write_folder, write_table, write_wav
from tensorflow_datasets.proto import tf_example_pb2

from audiosep_jax.errors import AudioSepError
from data_pipelines.corpora.audio_folder import AudioFolder
from data_pipelines.mixtures.clip_index import ClipStore
from data_pipelines.mixtures.clips import decode_flac
from data_pipelines.prepare.build import prepare

PREPARE = """
import sys
from data_pipelines.corpora.audio_folder import AudioFolder
from data_pipelines.prepare.build import prepare
source, out, workers = sys.argv[1:]
options = {"source": source, "sample_rate_hz": 8000, "workers": int(workers)}
prepare(lambda work: AudioFolder(data_dir=work, **options), out)
print(sorted({"tensorflow", "torch", "apache_beam"} & set(sys.modules)))
"""


def test_processes_write_the_same_bytes_and_import_no_tensorflow(tones, tmp_path):
    for name, workers in (("one", 1), ("two", 3)):
        environment = {**os.environ, "PYTHONHASHSEED": str(workers)}
        command = [sys.executable, "-c", PREPARE, str(tones), str(tmp_path / name), str(workers)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[]"  # nor does tfds announce anything
    one, two = digests(tmp_path / "one"), digests(tmp_path / "two")
    records = [name for name in one if "array_record" in name]
    assert len(records) == 1
    assert {name: one[name] for name in records} == {name: two[name] for name in records}


def test_a_prepared_dataset_stays_what_it_is(tones, tmp_path):
    """Shards of two releases are the same bytes: change this only knowingly."""
    out = prepared(tones, tmp_path / "out")
    shard = out / "audio_folder-train.array_record-00000-of-00001"
    if soundfile.__libsndfile_version__ == "1.2.2":  # whose FLAC encoder decides the bytes of the sound
        known = "6ae4360ac4cab76ecbda70a38f4b79b90e10b028f0340d7beb4b242fbcfe42b4"
        assert digests(out)[shard.name] == known
    known = "d417372b383692ede881bc62838285c45fb405da1760e67ab85ab772f6c9ce37"
    assert digests(out)["clips-train.jsonl"] == known
    decoded = hashlib.sha256()
    for record in ArrayRecordDataSource([str(shard)]):
        example = tf_example_pb2.Example.FromString(record)
        values = example.features.feature
        samples = np.zeros(values["samples"].int64_list.value[0], np.float32)
        decode_flac(values["audio"].bytes_list.value[0], samples, start=0)
        values["audio"].bytes_list.value[0] = samples.tobytes()
        decoded.update(example.SerializeToString(deterministic=True))
    assert decoded.hexdigest() == "f58e9b53391cedc9975ee24d83ca4044013b5e42dbb69d7ea2753416d728c7ae"


def test_tfds_reads_what_was_prepared(dataset):
    source = tfds.builder_from_directory(dataset).as_data_source(split="train")
    assert len(source) == 12
    example = source[0]
    assert set(example) == {"active", "audio", "captions", "id", "label", "samples", "source"}
    assert bytes(example["audio"][:4]) == b"fLaC"


def test_the_index_agrees_with_the_records(dataset, tmp_path):
    with_index = ClipStore(str(dataset)).clips
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in dataset.iterdir():
        if not path.name.startswith("clips-"):
            (copy / path.name).symlink_to(path)
    assert ClipStore(str(copy)).clips == with_index
    assert {clip.id for clip in with_index} == {f"{number:02}.wav" for number in range(12)}


def test_bad_files_are_left_out_and_reported_with_their_reason(tmp_path):
    source = write_folder(tmp_path / "source", labels=4, per_label=5, seconds=0.5)
    bad = {
        "03.wav": "silent",
        "07.wav": "does not exist",
        "08.wav": "cut off|ends|truncated",
        "11.wav": "NaN",
    }
    write_wav(source / "03.wav", np.zeros(4000))
    (source / "07.wav").unlink()
    (source / "08.wav").write_bytes((source / "08.wav").read_bytes()[:2000])
    soundfile.write(source / "11.wav", np.full(4000, np.nan), RATE, subtype="FLOAT")
    (source / "12.wav").write_text("these are no samples")
    out = prepared(source, tmp_path / "out", max_failed_share=0.25)
    report = json.loads((out / "report.json").read_text())
    assert (report["total"], report["prepared"]) == (20, {"train": 15})
    reasons = {clip["file"]: clip["reason"] for clip in report["skipped"]}
    assert set(reasons) == {*bad, "12.wav"}
    assert all(any(word in reasons[file] for word in words.split("|")) for file, words in bad.items())
    assert {clip.id for clip in ClipStore(str(out)).clips}.isdisjoint(reasons)
    stored = sum(clip.samples for clip in ClipStore(str(out)).clips) / RATE
    assert report["seconds"] == pytest.approx(stored)


def test_too_many_bad_files_stop_the_build_and_leave_nothing(tmp_path):
    source = write_folder(tmp_path / "source", seconds=0.2)
    for number in range(2):
        (source / f"{number:02}.wav").unlink()
    with pytest.raises(AudioSepError, match="2 of 12 clips cannot be used") as caught:
        prepared(source, tmp_path / "data" / "out", max_failed_share=0.1)
    assert "00.wav" in str(caught.value)
    assert list((tmp_path / "data").iterdir()) == []
    prepared(source, tmp_path / "data" / "out", max_failed_share=0.2)


def test_a_split_without_a_usable_clip_stops_the_build(tmp_path):
    lines = [{"file": f"{number}.wav", "captions": "a", "split": "train"} for number in range(3)]
    for number in range(3):
        write_wav(tmp_path / "source" / f"{number}.wav", tone(number, seconds=0.1))
    write_table(
        tmp_path / "source" / "clips.csv", [*lines, {"file": "gone.wav", "captions": "a", "split": "test"}]
    )
    with pytest.raises(AudioSepError, match=r"no clip of the split 'test'.*gone\.wav"):
        prepared(tmp_path / "source", tmp_path / "out", max_failed_share=0.5)


def test_an_interrupted_build_writes_nothing_and_keeps_the_old_dataset(tones, tmp_path):
    out = prepared(tones, tmp_path / "data" / "out")
    before = digests(out)
    seen = []

    def interrupt():
        seen.append(1)
        if len(seen) == 5:
            raise KeyboardInterrupt

    def builder(work):
        return AudioFolder(source=tones, sample_rate_hz=RATE, data_dir=work, on_clip=interrupt)

    with pytest.raises(KeyboardInterrupt):
        prepare(builder, out, overwrite=True)
    assert digests(out) == before
    assert list((tmp_path / "data").iterdir()) == [out]


def test_a_failed_swap_puts_the_old_dataset_back(tones, tmp_path, monkeypatch):
    out = prepared(tones, tmp_path / "data" / "out")
    before, rename = digests(out), os.rename

    def fail(source, target):
        if target == out and source.name == "dataset":
            raise OSError(28, "No space left on device")
        rename(source, target)

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(AudioSepError, match=r"out cannot be written .No space left on device"):
        prepare(lambda work: AudioFolder(source=tones, data_dir=work), out, overwrite=True)
    assert digests(out) == before


def test_only_a_dataset_is_overwritten_and_only_when_asked(tones, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    prepared(tones, out)  # an empty folder may be there
    with pytest.raises(AudioSepError, match="exists already"):
        prepared(tones, out)
    prepare(lambda work: AudioFolder(source=tones, sample_rate_hz=16_000, data_dir=work), out, overwrite=True)
    assert ClipStore(str(out)).sample_rate_hz == 16_000

    precious = tmp_path / "documents"
    precious.mkdir()
    (precious / "thesis.txt").write_text("…")
    with pytest.raises(AudioSepError, match="not a dataset"):
        prepare(lambda work: AudioFolder(source=tones, data_dir=work), precious, overwrite=True)
    assert (precious / "thesis.txt").exists()
