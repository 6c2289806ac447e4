import dataclasses

import numpy as np
import pytest
from pipelines_sounds import RATE, prepared, tone, write_folder, write_table, write_wav

from audiosep_jax.errors import ConfigError, DatasetError
from data_pipelines.mixtures import pack_builder, sound_pack
from data_pipelines.mixtures.clip_index import ClipStore
from data_pipelines.mixtures.opus import decode_opus, encode_opus
from data_pipelines.mixtures.pack_builder import PackOptions

OPTIONS = PackOptions(kilobits=48, clip_seconds=0, validation_mixtures=3, threads=2)


def conditions(captions):
    """A vector that identifies a caption."""
    return np.array([[len(caption), sum(map(ord, caption)) / 1000] for caption in captions], np.float32)


def build(*datasets, validation=None, **options):
    return pack_builder.build(
        [str(dataset) for dataset in datasets],
        [str(dataset) for dataset in validation or datasets[:1]],
        conditions=conditions,
        encoder="test",
        sample_rate_hz=RATE,
        options=dataclasses.replace(OPTIONS, **options),
    )


@pytest.fixture(scope="module")
def packed(dataset, tmp_path_factory):
    path = tmp_path_factory.mktemp("pack") / "tones.pack"
    sound_pack.write(path, build(dataset)[0])
    return path


def correlation(one, two):
    return float(one @ two / np.sqrt((one @ one) * (two @ two)))


def test_a_pack_holds_clips_table_conditions_and_sound(packed, dataset):
    pack, stored = sound_pack.read(packed), ClipStore(str(dataset)).clips
    assert (pack.clips, pack.sample_rate_hz, pack.encoder) == ((tuple(stored),), RATE, "test")
    assert pack.datasets == ("data/tones",)
    captions = sorted({caption for clip in stored for caption in clip.captions})
    np.testing.assert_array_equal(pack.conditions, conditions(captions).astype(np.float16))
    sound, begin = pack.decode_clips(threads=2)
    assert sound.dtype == np.int16
    assert begin.tolist() == np.cumsum([0, *(clip.samples for clip in stored)]).tolist()
    for number, clip in enumerate(stored):
        index = int(clip.id.removesuffix(".wav"))
        original = tone(index, seconds=2 + 0.1 * index)
        assert correlation(sound[begin[number] : begin[number + 1]] / 32768, original) > 0.98


def test_validation_mixtures_are_sounds_of_clips_that_may_meet(packed):
    pack = sound_pack.read(packed)
    sounds = pack.decode_validation()
    assert sounds.shape == (3, 2, 5 * RATE)
    assert pack.validation.groups == ("tones",) * 3
    np.testing.assert_array_equal(
        pack.validation.conditions, conditions(pack.validation.captions).astype(np.float16)
    )
    for target, other in sounds.astype(np.float32):
        assert min(np.abs(target).max(), np.abs(other).max()) > 1000
        assert abs(correlation(target, other)) < 0.1


def test_several_datasets_keep_their_order_and_captions_are_sorted(dataset, tmp_path):
    other = prepared(write_folder(tmp_path / "source", labels=6, per_label=2, seconds=1.0), tmp_path / "b")
    pack, report = build(f"{other}:train", dataset)
    assert [len(clips) for clips in pack.clips] == [12, 12]
    assert pack.datasets == ("data/b:train", "data/tones")
    assert (report.clips, report.all_clips, report.limited_labels) == (24, 24, 0)


def test_long_clips_are_cut_and_keep_their_active_part(tmp_path):
    silence, sound = np.zeros(RATE), tone(3, seconds=2.0)
    for name in "ab":
        write_wav(tmp_path / "source" / f"{name}.wav", np.concatenate([silence, sound, silence]))
    rows = [{"file": f"{name}.wav", "captions": f"sound {name}", "label": name} for name in "ab"]
    write_table(tmp_path / "source" / "clips.csv", rows)
    pack, _ = build(prepared(tmp_path / "source", tmp_path / "out"), clip_seconds=1.5)
    clip = pack.clips[0][0]
    assert (clip.samples, clip.active) == (1.5 * RATE, (0, 1.5 * RATE))
    decoded = pack.decode_clips()[0][: clip.samples]
    assert correlation(decoded / 32768, sound[: clip.samples]) > 0.95


def test_a_size_limit_shortens_labels_equally(tmp_path):
    source = tmp_path / "source"
    # Nine clips of one label, and one of each of two others.
    labels = ["often"] * 9 + ["rare", "rarer"]
    for index in range(11):
        write_wav(source / f"{index}.wav", tone(index, seconds=2.0))
    rows = [
        {"file": f"{index}.wav", "captions": f"{label} {index}", "label": label}
        for index, label in enumerate(labels)
    ]
    write_table(source / "clips.csv", rows)
    dataset = prepared(source, tmp_path / "out")
    whole, _ = build(dataset)
    size = sound_pack.size_without_sound(whole) + sum(map(len, whole.opus))
    limit = (size - 4 * len(whole.opus[0])) / 1e6
    pack, report = build(dataset, megabytes=limit)
    sound_pack.write(tmp_path / "small.pack", pack)
    assert (tmp_path / "small.pack").stat().st_size <= limit * 1e6
    kept = [clip.label for clip in pack.clips[0]]
    assert kept.count("rare") == kept.count("rarer") == 1
    assert 2 <= kept.count("often") <= 6
    assert report.limited_labels == 1
    assert report.clips == pack.count
    with pytest.raises(DatasetError, match="the validation alone exceed"):
        build(dataset, megabytes=0.001)


def test_the_bitrate_is_that_of_the_options():
    noise = np.random.default_rng(0).standard_normal(5 * 32_000).astype(np.float32) * 0.1
    for kilobits in (16, 32, 64):
        opus = encode_opus(noise, sample_rate_hz=32_000, kilobits=kilobits)
        assert len(opus) / 5 / 125 == pytest.approx(kilobits, rel=0.2)
        assert decode_opus(opus, sample_rate_hz=32_000, samples=7).shape == (7,)


def test_errors_say_what_to_do(packed, dataset, tmp_path):
    with pytest.raises(ConfigError, match="6 to 256 a second"):
        PackOptions(kilobits=2)
    with pytest.raises(ConfigError, match="positive size"):
        PackOptions(megabytes=0)
    with pytest.raises(ConfigError, match="give both"):
        pack_builder.build([], [], conditions=conditions, encoder="", sample_rate_hz=RATE)
    with pytest.raises(DatasetError, match="prepare it with --sample-rate-hz 16000"):
        pack_builder.build(
            [str(dataset)], [str(dataset)], conditions=conditions, encoder="", sample_rate_hz=16_000
        )
    with pytest.raises(DatasetError, match="make the pack again"):
        sound_pack.read(tmp_path / "none")
    damaged = tmp_path / "damaged.pack"
    damaged.write_bytes(packed.read_bytes()[:-100])
    with pytest.raises(DatasetError, match="damaged"):
        sound_pack.read(damaged)
    with pytest.raises(DatasetError, match="sound is damaged"):
        decode_opus(b"no sound", sample_rate_hz=RATE, samples=10)


def test_a_file_of_another_kind_is_refused(tmp_path):
    from audiosep_jax.utils import safetensors_file

    safetensors_file.write(tmp_path / "weights", {"a": np.zeros(3)}, metadata={"format": "pt"})
    with pytest.raises(DatasetError, match="not a pack of this version"):
        sound_pack.read(tmp_path / "weights")


def test_clips_without_a_caption_are_refused(tmp_path):
    for name in "ab":
        write_wav(tmp_path / "source" / f"{name}.wav", tone(1, seconds=1.0))
    rows = [{"file": f"{name}.wav", "captions": "sound" * (name == "a"), "label": ""} for name in "ab"]
    write_table(tmp_path / "source" / "clips.csv", rows)
    with pytest.raises(DatasetError, match="has no caption"):
        build(prepared(tmp_path / "source", tmp_path / "out"))
