import dataclasses
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from pipelines_sounds import RATE, prepared, write_folder

from audiosep_jax.config import DataConfig, MixtureConfig
from audiosep_jax.errors import AudioSepError
from data_pipelines.mixtures.clip_index import ClipStore
from data_pipelines.mixtures.pipeline import MixturePipeline

MIXTURE = MixtureConfig(segment_seconds=1.0, absent_probability=0.2, level_range_db=(-3.0, 3.0))


def conditions(captions):
    return np.array([[len(caption), sum(caption.encode())] for caption in captions])


def pipeline(dataset, *, threads=0, **options):
    data = DataConfig(datasets=(str(dataset),), read_threads=threads, prefetch=2)
    options = {
        "mixture": MIXTURE,
        "batch_size": 4,
        "conditions": conditions,
        "sample_rate_hz": RATE,
        **options,
    }
    return MixturePipeline(options.pop("data", data), options.pop("mixture"), **options)


def take(dataset, *, start_step=0, stop_step=6, **options):
    return list(pipeline(dataset, **options).batches(start_step=start_step, stop_step=stop_step))


def assert_same(batches, others):
    assert len(batches) == len(others)
    for one, two in zip(batches, others, strict=True):
        assert (one.step, one.captions, one.ids) == (two.step, two.captions, two.ids)
        for name, array in one.arrays.items():
            np.testing.assert_array_equal(array, two.arrays[name], err_msg=name)


def test_a_batch_has_the_documented_arrays(dataset):
    (batch,) = take(dataset, stop_step=1, mixture=dataclasses.replace(MIXTURE, sources=3))
    assert {name: (array.shape, array.dtype.name) for name, array in batch.arrays.items()} == {
        "segments": ((4, 3, RATE), "float32"),
        "gains_db": ((4, 3), "int32"),
        "level_db": ((4,), "float32"),
        "absent": ((4,), "bool"),
        "condition": ((4, 2), "float32"),
    }
    assert len(batch.captions) == 4
    assert [len(ids) for ids in batch.ids] == [3] * 4
    np.testing.assert_array_equal(batch.condition, conditions(batch.captions))


def test_segments_are_parts_of_the_named_clips(dataset, tones):
    for batch in take(dataset):
        for segments, ids in zip(batch.segments, batch.ids, strict=True):
            for segment, name in zip(segments, ids, strict=True):
                whole = soundfile.read(tones / name, dtype="float32")[0]
                starts = np.lib.stride_tricks.sliding_window_view(whole, 40)[: len(whole) - RATE + 1]
                start = np.abs(starts - segment[:40]).max(axis=1).argmin()
                np.testing.assert_allclose(segment, whole[start : start + RATE], atol=1e-4)


def test_short_clips_are_padded_with_zeros_on_both_sides(dataset, tones):
    for batch in take(dataset, mixture=dataclasses.replace(MIXTURE, segment_seconds=4.0)):
        for segment, name in zip(batch.segments[:, 1], (ids[1] for ids in batch.ids), strict=True):
            whole = soundfile.read(tones / name, dtype="float32")[0]
            first = np.flatnonzero(segment)[0] - np.flatnonzero(whole)[0]
            np.testing.assert_allclose(segment[first : first + len(whole)], whole, atol=1e-4)
            assert not segment[:first].any()
            assert not segment[first + len(whole) :].any()


def test_threads_and_the_first_step_change_nothing(dataset):
    whole = take(dataset)
    assert [batch.step for batch in whole] == list(range(6))
    assert_same(take(dataset, threads=3), whole)
    assert_same(take(dataset, start_step=4), whole[4:])
    distant = take(dataset, start_step=10**9, stop_step=10**9 + 1)
    assert [batch.step for batch in distant] == [10**9]


def test_an_iterator_resumes_from_its_state(dataset):
    batches = pipeline(dataset, threads=2).batches(stop_step=6)
    iterator = iter(batches)
    next(iterator), next(iterator)
    state = iterator.get_state()
    rest = list(iterator)
    resumed = iter(batches)
    resumed.set_state(state)
    assert_same(list(resumed), rest)


def test_two_hosts_read_the_halves_of_one_batch(dataset):
    halves = [take(dataset, process_index=index, process_count=2) for index in range(2)]
    for whole, first, second in zip(take(dataset), *halves, strict=True):
        assert first.step == second.step == whole.step
        assert first.captions + second.captions == whole.captions
        for name, array in whole.arrays.items():
            np.testing.assert_array_equal(np.concatenate([first.arrays[name], second.arrays[name]]), array)


def test_two_hosts_read_the_halves_of_each_microbatch(dataset):
    hosts = [take(dataset, process_index=index, process_count=2, microbatches=2) for index in range(2)]
    for whole, first, second in zip(take(dataset), *hosts, strict=True):
        for name, array in whole.arrays.items():
            one, two = first.arrays[name], second.arrays[name]
            np.testing.assert_array_equal(np.concatenate([one[:1], two[:1], one[1:], two[1:]]), array)
    alone = take(dataset, microbatches=2)
    assert_same(alone, take(dataset))


def test_datasets_and_splits_are_chosen_by_their_entry(tmp_path):
    source = write_folder(tmp_path / "source", per_label=10, seconds=0.2)
    out = prepared(source, tmp_path / "out", validation_share=0.3)
    train, validation = (ClipStore(f"{out}:{name}").clips for name in ("train", "validation"))
    both = ClipStore(f"{out}:train+validation").clips
    assert both == train + validation
    assert sorted(clip.id for clip in ClipStore(str(out)).clips) == sorted(clip.id for clip in both)
    with pytest.raises(AudioSepError, match=r"no split 'test': choose from train, validation"):
        ClipStore(f"{out}:train+test")


def test_conditions_may_be_a_mapping_and_must_be_complete(dataset):
    captions = pipeline(dataset).captions
    table = dict(zip(captions, conditions(captions), strict=True))
    assert_same(take(dataset, conditions=table), take(dataset))
    del table[captions[2]]
    with pytest.raises(
        AudioSepError, match=f"1 of 8 captions have no condition, the first is '{captions[2]}'"
    ):
        pipeline(dataset, conditions=table)
    with pytest.raises(AudioSepError, match=r"shape \(8,\)"):
        pipeline(dataset, conditions=lambda captions: np.zeros(len(captions)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample_rate_hz": 16_000}, "stored at 8000 Hz, the model works at 16000 Hz"),
        ({"batch_size": 5, "process_count": 2}, "batch of 5 cannot be split over 2 processes"),
        (
            {"batch_size": 6, "process_count": 2, "microbatches": 2},
            "batch of 6 cannot be split over 2 processes in 2 microbatches: choose a multiple of 4",
        ),
        ({"data": DataConfig()}, "data.datasets is empty"),
        ({"data": DataConfig(datasets=("x",), weights=(1.0, 2.0))}, "one positive number for each of the 1"),
        ({"mixture": MixtureConfig(sources=5)}, "has fewer than 5 others"),
    ],
)
def test_impossible_pipelines_are_refused_when_they_are_made(dataset, options, message):
    if message.startswith("has fewer"):
        options["mixture"] = dataclasses.replace(options["mixture"], absent_probability=0.1)
    with pytest.raises(AudioSepError, match=message):
        pipeline(dataset, **options)


def records_of(folder):
    (path,) = folder.glob("*.array_record*")
    return path


def break_bits(folder):
    path = records_of(folder)
    data = bytearray(path.read_bytes())
    for place in range(1000, len(data) - 70_000, 500):
        data[place] ^= 0xFF
    path.write_bytes(data)


def test_a_damaged_record_is_named_when_it_is_read(dataset, tmp_path):
    copy = shutil.copytree(dataset, tmp_path / "copy")
    break_bits(copy)
    with pytest.raises(AudioSepError, match=r"copy, clip \d+\.wav: The record is damaged"):
        take(copy, threads=2)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: records_of(folder).unlink(),
        lambda folder: records_of(folder).write_bytes(b""),
        lambda folder: (folder / "clips-train.jsonl").write_text('{"id": 3}\n'),
        lambda folder: (folder / "dataset_info.json").write_text("{"),
        lambda folder: (folder / "dataset_info.json").unlink(),
        lambda folder: (folder / "metadata.json").unlink(),
        lambda folder: (folder / "clips-train.jsonl").write_text(
            (folder / "clips-train.jsonl").read_text().split("\n", 1)[1]
        ),
    ],
)
def test_a_damaged_dataset_is_refused_with_its_folder(dataset, tmp_path, damage):
    copy = shutil.copytree(dataset, tmp_path / "copy")
    damage(copy)
    with pytest.raises(AudioSepError, match=rf"{copy}.*prepare"):
        pipeline(copy)


def test_the_pipeline_imports_neither_the_training_nor_tensorflow():
    code = (
        "import sys, data_pipelines.mixtures.pipeline; print([n for n in sys.modules if n.startswith(BAD)])"
    )
    bad = ("audiosep_jax.train", "audiosep_jax.models", "tensorflow.", "torch")
    done = subprocess.run(
        [sys.executable, "-c", code.replace("BAD", repr(bad))], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
