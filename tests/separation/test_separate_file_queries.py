"""Several results of one file: read once for all, exact sums, no files after a failure."""

import numpy as np
import pytest
import soundfile
from separation_models import CONDITION_SIZE, RATE, scene, scene_file

from audiosep_jax import Query
from audiosep_jax.audio import reading
from audiosep_jax.audio.reading import read_audio
from audiosep_jax.errors import AudioSepError

DRAW = np.random.default_rng(1)
A, B = (Query(condition=vector) for vector in DRAW.normal(size=(2, CONDITION_SIZE)))
NOT_B = Query(without=B)


def steps(path, bits):
    data, _ = soundfile.read(path, dtype="int32", always_2d=True)
    return data.astype(np.int64) >> (32 - bits)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return scene_file(tmp_path_factory.mktemp("mixture") / "in.wav", 2, rate=22_050, channels=2)


def test_every_query_writes_the_same_as_alone_and_the_file_is_read_once_for_all(
    model, path, tmp_path, monkeypatch
):
    passes = []
    original = reading.AudioReader.blocks

    def counted(reader, *arguments, **options):
        passes.append(None)
        return original(reader, *arguments, **options)

    monkeypatch.setattr(reading.AudioReader, "blocks", counted)
    outputs = [(tmp_path / f"{name}.e.wav", tmp_path / f"{name}.r.wav") for name in ("a", "b")]
    told = []
    results = model.separate_file_queries(
        path,
        queries=[A, B, NOT_B, Query(without=[A, B])],
        outputs=[*outputs, (tmp_path / "c.wav", None), (str(tmp_path / "d.flac"), None)],
        progress=lambda done, total: told.append((done, total)),
    )
    assert len(passes) == 2  # once to measure, once to separate
    assert told[-1] == (44_100, 44_100)
    mixture = steps(path, 16)
    for result, (estimate, residual) in zip(results, outputs, strict=False):
        assert (result.estimate_path, result.residual_path) == (estimate, residual)
        np.testing.assert_array_equal(steps(estimate, 16) + steps(residual, 16), mixture)
    # What is left without B is what B's query leaves.
    np.testing.assert_array_equal(steps(tmp_path / "c.wav", 16), steps(outputs[1][1], 16))
    left = steps(tmp_path / "d.flac", 16)
    assert 0 < np.square(left).sum() < np.square(mixture).sum()
    levels = [
        10 * np.log10(np.square(each).sum() / np.square(mixture).sum())
        for each in (left, steps(outputs[0][0], 16))
    ]
    assert (results[3].level_db, results[0].level_db) == pytest.approx(levels)
    alone = model.separate_file(path, query=A, estimate_path=tmp_path / "alone.wav")
    assert np.abs(steps(tmp_path / "alone.wav", 16) - steps(outputs[0][0], 16)).max() <= 1
    assert alone.presence.level_db == pytest.approx(results[0].presence.level_db, abs=1e-3)


@pytest.mark.parametrize(("subtype", "bits"), [("PCM_16", 16), ("PCM_24", 24)])
def test_stems_and_rest_add_up_step_for_step(model, tmp_path, subtype, bits):
    path = scene_file(tmp_path / "in.wav", 2, rate=22_050, channels=2, subtype=subtype)
    stems = [tmp_path / "a.wav", tmp_path / "b.wav"]
    results = model.separate_file_stems(
        path, queries=[A, B], stem_paths=stems, rest_path=tmp_path / "rest.wav", channel_mask="shared"
    )
    parts = [steps(each, bits) for each in (*stems, tmp_path / "rest.wav")]
    np.testing.assert_array_equal(sum(parts), steps(path, bits))
    assert all(np.abs(part).max() > 0 for part in parts)
    assert [each.estimate_path for each in results] == stems
    assert {each.residual_path for each in results} == {tmp_path / "rest.wav"}
    assert {each.subtype for each in results} == {subtype}


def test_stems_of_full_scale_noise_add_up(model, tmp_path):
    mixture = np.where(DRAW.random(RATE) < 0.5, -32768, 32767).astype(np.int16)
    soundfile.write(tmp_path / "in.wav", mixture, RATE)
    stems = [tmp_path / "a.wav", tmp_path / "b.wav"]
    model.separate_file_stems(
        tmp_path / "in.wav", queries=[A, B], stem_paths=stems, rest_path=tmp_path / "r.wav"
    )
    total = sum(steps(each, 16)[:, 0] for each in (*stems, tmp_path / "r.wav"))
    np.testing.assert_array_equal(total, mixture)


def test_stems_of_floating_point_add_up_as_arrays_do(model, tmp_path):
    mixture = (3 * scene(1)).astype(np.float32)
    soundfile.write(tmp_path / "in.wav", mixture.T, RATE, subtype="FLOAT")
    stems = [tmp_path / "a.wav", tmp_path / "b.wav"]
    model.separate_file_stems(
        tmp_path / "in.wav", queries=[A, B], stem_paths=stems, rest_path=tmp_path / "r.wav"
    )
    in_memory = model.separate_stems(mixture, RATE, queries=[A, B])
    written = [read_audio(each).waveform for each in (*stems, tmp_path / "r.wav")]
    for part, expected in zip(written, (*in_memory.estimates, in_memory.rest), strict=True):
        np.testing.assert_allclose(part, expected, atol=1e-6)
    total = np.sum(written, axis=0, dtype=np.float64)
    assert np.abs(total - mixture).max() <= 2**-23 * np.abs(mixture).max()


def test_a_failure_leaves_no_file_and_overwrites_none(model, path, tmp_path):
    good = tmp_path / "e.wav"
    for outputs, reason in [
        ([(good, None), (tmp_path / "x.wav", good)], "would overwrite"),
        ([(good, None), (path, None)], "would overwrite"),
        ([(good, None), (tmp_path / "e.mp3", None)], r"e\.mp3 cannot hold"),
        ([(good, None), (tmp_path / "none" / "e.wav", None)], "not a folder"),
    ]:
        with pytest.raises(AudioSepError, match=reason):
            model.separate_file_queries(path, queries=[A, B], outputs=outputs)
    with pytest.raises(KeyboardInterrupt):
        model.separate_file_stems(
            path,
            queries=[A, B],
            stem_paths=[good, tmp_path / "f.wav"],
            rest_path=tmp_path / "r.wav",
            progress=lambda done, total: (_ for _ in ()).throw(KeyboardInterrupt),
        )
    assert not list(tmp_path.iterdir())
