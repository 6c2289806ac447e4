"""Runs whose conditions come from captions, from the target's sound, and from frames."""

import dataclasses
import json
import threading

import jax
import numpy as np
import pytest
import small_towers
import training_runs
from jax.experimental.compilation_cache import compilation_cache
from safetensors.numpy import load_file

from audiosep_jax.config import QueryConfig
from audiosep_jax.encoders.base import load_encoder
from audiosep_jax.errors import AudioSepError
from audiosep_jax.train import loop, supervision, validation
from audiosep_jax.train import mesh as meshes
from data_pipelines.mixtures.pipeline import MixturePipeline

STEPS = 8


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Nine clips with frames; the noises have no captions."""
    return training_runs.write_dataset(tmp_path_factory.mktemp("films"), frames=True, undescribed=("noise",))


@pytest.fixture(scope="module")
def compiled_once(tmp_path_factory):
    """Keeps compiled programs, because two runs only differ in their encoder."""
    wanted = {
        "jax_compilation_cache_dir": str(tmp_path_factory.mktemp("compiled")),
        "jax_persistent_cache_min_compile_time_secs": 0.5,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in wanted}
    for name, value in wanted.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def experiment(dataset, source, *, ratio=0.5, threads=2, **train):
    config = training_runs.experiment(dataset, **({"steps": STEPS} | train))
    return dataclasses.replace(
        config,
        query=QueryConfig(encoder="letters", source=source, text_ratio=ratio),
        data=dataclasses.replace(config.data, read_threads=threads),
    )


def logged(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text("utf-8").splitlines()]


def batches(config, tmp_path, *, encoder=None):
    """The batches of a run, as the loop would get them."""
    encoder = encoder or training_runs.load(config.query.source)
    pipeline = MixturePipeline(
        config.data,
        config.mixture,
        sample_rate_hz=training_runs.RATE,
        batch_size=config.train.batch_size,
        conditions=encoder.encode,
        supervision=supervision.make_supervision(config, encoder, folder=tmp_path),
    )
    return list(pipeline.batches(stop_step=config.train.steps))


def test_segments_are_encoded_by_one_thread_outside_of_the_loop_s_mesh(sounds, tmp_path):
    config = experiment(sounds, "hear")
    training_runs.HearingLetters.rates.clear()
    training_runs.HearingLetters.threads.clear()
    wanted = batches(config, tmp_path)
    assert len(training_runs.HearingLetters.threads) == 1
    alone = experiment(sounds, "hear", threads=0)
    with jax.set_mesh(meshes.make_mesh()), jax.transfer_guard("disallow"):
        found = batches(alone, tmp_path)
    assert training_runs.HearingLetters.rates == {training_runs.RATE}
    assert threading.get_ident() not in training_runs.HearingLetters.threads
    for one, two in zip(wanted, found, strict=True):
        assert one.modality == two.modality
        np.testing.assert_array_equal(one.condition, two.condition)
    assert {name for batch in wanted for name in batch.modality} == {"text", "audio"}


@pytest.mark.parametrize(
    ("encoder", "other"),
    [pytest.param("clap", "audio", marks=pytest.mark.slow), ("clip", "frames")],
)
def test_conditions_from_sound_and_frames_train_a_run(films, compiled_once, tmp_path, encoder, other):
    words = sorted({word for caption in training_runs.CAPTIONS.values() for word in caption.split()})
    tower = small_towers.write_tower(tmp_path / "tower", encoder, words=words)
    config = training_runs.experiment(films, steps=4)
    config = dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, condition_size=small_towers.CONDITION_SIZE),
        query=QueryConfig(encoder=encoder, source=str(tower), text_ratio=0.5),
    )
    loop.train(config, tmp_path / "run")
    lines = logged(tmp_path / "run")
    assert len(lines) == 4
    for line in lines:
        assert np.isfinite(line["loss"])
        assert line["share_text"] + line[f"share_{other}"] == 1
    assert sum(line[f"share_{other}"] for line in lines) > 0
    # Two clips in the same colours or with the same sound would make this pass by chance.
    drawn = {}
    for batch in batches(config, tmp_path / "run", encoder=load_encoder(config.query)):
        assert all(
            caption or name == other for caption, name in zip(batch.captions, batch.modality, strict=True)
        )
        np.testing.assert_allclose(np.linalg.norm(batch.condition, axis=1), 1, rtol=1e-5)
        drawn |= {ids[0]: row for ids, row in zip(batch.ids, batch.condition, strict=True)}
    assert len(np.unique(np.round(list(drawn.values()), 6), axis=0)) > 3


def test_validation_queries_by_caption_or_else_by_frames(films, letters, tmp_path):
    config = experiment(films, "see", ratio=0.0, validation_mixtures=9)
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, validation=(str(films),)))
    encoder = training_runs.SeeingLetters()
    sight = supervision.make_supervision(config, encoder, folder=tmp_path)
    fixed = validation.Validation(config, meshes.make_mesh(), encoder.encode, sight)
    for row, title in zip(fixed._condition, fixed._titles, strict=True):
        if title in training_runs.CAPTIONS.values():
            np.testing.assert_array_equal(row, encoder.encode([title])[0])
        else:
            assert title.startswith("noise")
            assert not row[3:].any()
    assert sum(title.startswith("noise") for title in fixed._titles) == 3


def test_conditions_of_frames_are_their_unit_mean_and_computed_once(films, letters, tmp_path):
    config = experiment(films, "see")
    training_runs.SeeingLetters.images = 0
    batches(config, tmp_path / "run")
    assert training_runs.SeeingLetters.images == 18

    clips = {}
    for batch in batches(config, tmp_path / "run"):
        for row, modality, caption, ids in zip(
            batch.condition, batch.modality, batch.captions, batch.ids, strict=True
        ):
            assert caption or modality == "frames"
            if modality == "frames":
                clips[ids[0]] = row
            else:
                np.testing.assert_array_equal(row, training_runs.LetterEncoder().encode([caption])[0])
    assert training_runs.SeeingLetters.images == 18  # the file knew them
    assert any(name.startswith("noise") for name in clips)
    assert any(not name.startswith("noise") for name in clips)
    for name, row in clips.items():
        label, seed = name.removesuffix(".wav")[:-1], int(name.removesuffix(".wav")[-1])
        shift = list(training_runs.CAPTIONS).index(label)
        colours = np.array([np.roll([200, 20 * seed, 10 * number], shift) for number in range(2)]) + 1.0
        mean = np.mean(colours / np.linalg.norm(colours, axis=1, keepdims=True), axis=0)
        np.testing.assert_allclose(row[:3], mean / np.linalg.norm(mean), rtol=1e-5)


def test_a_text_ratio_of_1_uses_neither_sound_nor_frames(sounds, films, letters, tmp_path):
    for source, dataset in (("hear", sounds), ("see", sounds)):
        drawn = {
            name
            for batch in batches(experiment(dataset, source, ratio=1.0), tmp_path)
            for name in batch.modality
        }
        assert drawn == {"text"}
    # Frames are used where there is nothing else, though every described clip uses its caption.
    training_runs.SeeingLetters.images = 0
    for batch in batches(experiment(films, "see", ratio=1.0), tmp_path / "films"):
        for caption, modality in zip(batch.captions, batch.modality, strict=True):
            assert modality == ("text" if caption else "frames")
    assert training_runs.SeeingLetters.images == 6


def test_a_clip_with_no_usable_query_is_named(films, letters, tmp_path):
    for source in ("", "hear"):
        with pytest.raises(AudioSepError, match=r"3 of 9 clips have no caption, the first is noise0\.wav"):
            loop.train(experiment(films, source, ratio=1.0), tmp_path / "run")


def test_conditions_of_frames_are_kept_by_the_tower_that_made_them(films, letters, tmp_path):
    batches(experiment(films, "see"), tmp_path)
    (kept,) = tmp_path.glob("conditions-*.safetensors")
    assert load_file(kept)["conditions"].shape == (9, len(training_runs.LETTERS))
    other = training_runs.SeeingLetters()
    other.fingerprint = "another tower"
    supervision.make_supervision(experiment(films, "see"), other, folder=tmp_path).see(
        ["x" * 32], lambda _: [png()]
    )
    assert len(list(tmp_path.glob("conditions-*.safetensors"))) == 2
    np.testing.assert_array_equal(load_file(kept)["conditions"].shape, (9, len(training_runs.LETTERS)))


def png():
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (3, 3), (9, 8, 7)).save(file, "PNG")
    return file.getvalue()
