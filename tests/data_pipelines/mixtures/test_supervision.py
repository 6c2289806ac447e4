"""The modality of conditions: drawn per example, and encoded."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipelines_sounds import RATE, prepared, tone, write_table, write_wav

from audiosep_jax.config import DataConfig, MixtureConfig
from audiosep_jax.errors import AudioSepError
from data_pipelines.mixtures.clip_index import Clip
from data_pipelines.mixtures.clip_table import ClipTable
from data_pipelines.mixtures.draws import DrawSource
from data_pipelines.mixtures.pipeline import MixturePipeline
from data_pipelines.mixtures.supervision import Supervision

MIXTURE = MixtureConfig(segment_seconds=1.0, absent_probability=0.3)


def hear(segments):
    """Returns a condition that identifies a sound: its length, its energy, one of its samples."""
    return np.array([[len(segment), np.sum(segment**2), segment[len(segment) // 2]] for segment in segments])


def see(digests, read):
    return np.array([[-1, sum(map(len, read(digest))), digest[0] == "0"] for digest in digests])


def captions_only(captions):
    return np.array([[0, len(caption), sum(caption.encode())] for caption in captions])


def clip(index, **fields):
    return Clip(
        **{
            "id": f"{index}",
            "label": f"{index % 7}",
            "captions": (f"caption {index % 7}",),
            "source": f"{index}",
            "samples": 300,
            "active": (0, 300),
            "frames": f"{index:032x}",
            **fields,
        }
    )


def draws(clips, supervision, *, count=400, absent=0.3, process_count=1):
    parts = [
        DrawSource(
            ClipTable([clips]),
            dataclasses.replace(MIXTURE, absent_probability=absent),
            sample_rate_hz=200,
            batch_size=8,
            seed=3,
            supervision=supervision,
            process_index=index,
            process_count=process_count,
        )
        for index in range(process_count)
    ]
    local = 8 // process_count
    return [
        part[step * local + place] for step in range(count // 8) for part in parts for place in range(local)
    ]


def plain(draw):
    return dataclasses.replace(draw, modality="text", heard=None)


CLIPS = [clip(index) for index in range(30)]


@given(ratio=st.floats(0, 1), hears=st.booleans())
def test_the_ratio_changes_nothing_but_the_modality(ratio, hears):
    ability = {"hear": hear} if hears else {"see": see}
    whole = draws(CLIPS, Supervision(), count=40)
    drawn = draws(CLIPS, Supervision(text_ratio=ratio, **ability), count=40)
    assert [plain(draw) for draw in drawn] == whole
    for draw in drawn:
        assert (draw.heard is not None) == (draw.modality == "audio")
        assert draw.heard is None or draw.heard.clip == draw.asked
        assert draw.absent or draw.heard in (None, draw.crops[0])
        assert (draw.asked == draw.crops[0].clip) != draw.absent


@pytest.mark.parametrize("ratio", [0.0, 0.25, 0.5, 0.9])
def test_each_example_draws_for_itself(ratio):
    drawn = draws(CLIPS, Supervision(text_ratio=ratio, hear=hear), count=4000)
    text = np.array([draw.modality == "text" for draw in drawn])
    deviation = np.sqrt(ratio * (1 - ratio) / len(text))
    assert abs(text.mean() - ratio) <= 4 * deviation
    # Of a batch of eight, as many as eight independent draws give: whole batches would vary eightfold.
    per_batch = text.reshape(-1, 8).sum(axis=1)
    assert np.var(per_batch) == pytest.approx(8 * ratio * (1 - ratio), rel=0.3)
    for absent in (False, True):
        part = text[[draw.absent == absent for draw in drawn]]
        assert part.mean() == pytest.approx(ratio, abs=0.06)


@pytest.mark.parametrize("process_count", [2, 4])
def test_several_processes_draw_the_same_as_one(process_count):
    supervision = Supervision(text_ratio=0.5, hear=hear)
    assert draws(CLIPS, supervision, process_count=process_count) == draws(CLIPS, supervision)


def test_a_clip_that_lacks_one_of_the_two_uses_the_other():
    clips = [
        clip(index, captions=(f"caption {index % 7}",) * (index % 3 != 0), frames="x" * (index % 3 != 1))
        for index in range(30)
    ]
    for draw in draws(clips, Supervision(text_ratio=0.5, see=see)):
        wanted = {0: {"frames"}, 1: {"text"}, 2: {"text", "frames"}}[draw.asked % 3]
        assert draw.modality in wanted
        assert (draw.caption < 0) == (draw.asked % 3 == 0)


def test_clips_without_captions_meet_no_clip_of_their_recording():
    clips = [clip(index, captions=(), label="", source=f"{index % 3}") for index in range(12)]
    clips += [clip(index, source=f"{index % 6}") for index in range(12)]
    table = ClipTable([clips])
    for one in range(24):
        assert not table.may_meet(one, [one])
        for two in range(12):
            assert table.may_meet(one, [two]) == (clips[one].source != clips[two].source)
    drawn = draws(clips, Supervision(text_ratio=0.5, hear=hear), absent=0)
    met = {frozenset(clips[crop.clip].source for crop in draw.crops) for draw in drawn}
    # "3" to "5" are described clips' alone, where labels decide as they always did.
    assert all(len(sources) == 2 for sources in met if sources & {"0", "1", "2"})


@pytest.mark.parametrize(
    ("clips", "supervision", "said"),
    [
        (
            [clip(0), clip(1, captions=()), clip(2, captions=())],
            Supervision(),
            "2 of 3 clips have no caption, the",
        ),
        (
            [clip(0, captions=(), frames=""), clip(1, captions=())],
            Supervision(see=see),
            "1 of 2 clips have no caption and no frames, the first is 0",
        ),
        ([clip(0, frames="")], Supervision(text_ratio=0.5, see=see), "none of the 1 clips has frames"),
    ],
)
def test_clips_without_a_usable_query_are_refused(clips, supervision, said):
    with pytest.raises(AudioSepError, match=said):
        supervision.check(clips)


@pytest.fixture(scope="module")
def undescribed(tmp_path_factory):
    """Tones, every second one without caption; number 0 pauses for three seconds."""
    source = tmp_path_factory.mktemp("undescribed") / "source"
    rows = []
    for index in range(8):
        waveform = tone(index, seconds=2)
        if index == 0:
            waveform = np.concatenate([waveform[:2000], np.zeros(3 * RATE), waveform[:2000]])
        write_wav(source / f"{index}.wav", waveform)
        rows.append({"file": f"{index}.wav", "label": f"{index % 4}"})
    write_table(source / "clips.csv", rows)
    return prepared(source, source.parent / "out")


def batches(dataset, supervision, *, stop_step=6, threads=0, **options):
    data = DataConfig(datasets=(str(dataset),), read_threads=threads)
    options = {"sample_rate_hz": RATE, "batch_size": 4, "conditions": captions_only, **options}
    mixture = options.pop("mixture", MIXTURE)
    return list(
        MixturePipeline(data, mixture, supervision=supervision, **options).batches(stop_step=stop_step)
    )


def test_the_encoded_sound_is_the_target_in_the_mixture_or_an_absent_clip(dataset):
    for batch in batches(dataset, Supervision(text_ratio=0.4, hear=hear), threads=2, stop_step=8):
        for row, caption, modality, absent, segments in zip(
            batch.condition, batch.captions, batch.modality, batch.absent, batch.segments, strict=True
        ):
            if modality == "text":
                np.testing.assert_array_equal(row, captions_only([caption])[0])
            elif not absent:
                np.testing.assert_allclose(row, hear(segments[:1])[0], rtol=1e-6)
            else:
                heard = hear(segments)
                assert row[0] == RATE
                assert row[1] > 1
                assert not any(np.allclose(row, other) for other in heard)


def test_two_hosts_encode_the_halves_of_one_batch(dataset):
    supervision = Supervision(text_ratio=0.5, hear=hear)
    halves = [batches(dataset, supervision, process_index=index, process_count=2) for index in range(2)]
    for whole, first, second in zip(batches(dataset, supervision), *halves, strict=True):
        assert first.modality + second.modality == whole.modality
        np.testing.assert_array_equal(np.concatenate([first.condition, second.condition]), whole.condition)


def test_sound_alone_is_enough(undescribed):
    found = batches(undescribed, Supervision(text_ratio=0.5, hear=hear), stop_step=30)
    assert {name for batch in found for name in batch.modality} == {"audio"}
    assert {caption for batch in found for caption in batch.captions} == {""}
    silent = [
        row
        for batch in found
        for row, segments in zip(batch.condition, batch.segments, strict=True)
        if not segments[0].any()
    ]
    assert silent  # clip 0 pauses for longer than a segment
    for batch in found:
        assert np.all(batch.condition[:, 1] > 1)  # yet silence is never what was heard
    with pytest.raises(AudioSepError, match=r"8 of 8 clips have no caption, the first is \d\.wav"):
        batches(undescribed, Supervision())


def test_unusable_conditions_are_refused(dataset):
    for wrong, said in (
        (lambda segments: np.full((len(segments), 3), np.nan), "one row per sound"),
        (lambda segments: np.zeros((len(segments), 4)), r"differ in length \(\[3, 4\]\): use one tower"),
    ):
        with pytest.raises(AudioSepError, match=said):
            batches(dataset, Supervision(text_ratio=0.0, hear=wrong))
