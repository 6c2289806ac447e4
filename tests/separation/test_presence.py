"""Presence: the measured level, its judgement by the calibration, and the warning."""

import json
import math
import warnings

import numpy as np
import pytest
from separation_models import CONDITION_SIZE, RATE, random_model, scene

import audiosep_jax
from audiosep_jax import AbsentQueryWarning, Query
from audiosep_jax.checkpoints import folder
from audiosep_jax.checkpoints.bundled import BUNDLED_CHECKPOINT
from audiosep_jax.errors import AudioSepError
from audiosep_jax.separation import presence

CONDITION = np.linspace(-1, 1, CONDITION_SIZE)
CALIBRATION = presence.Calibration(midpoint_db=-10, slope_per_db=0.5, absent_below_db=-14)


def measured(mixture, estimates, *, block=1000, rate=100):
    meter = presence.Meter(queries=len(estimates), sample_rate_hz=rate)
    for start in range(0, mixture.shape[-1], block):
        meter.push(mixture[:, start : start + block], estimates[..., start : start + block])
    return meter.levels_db()


@pytest.mark.parametrize("block", [1, 333, 5000])
def test_the_loudest_four_seconds_count(block):
    mixture = np.ones((2, 2430), np.float32)
    estimates = np.zeros((3, 2, 2430), np.float32)
    estimates[0, :, 800:1200] = 0.5  # the third segment
    estimates[1, :, 800:1000] = 0.5
    assert measured(mixture, estimates, block=block) == pytest.approx(
        [20 * math.log10(0.5), 20 * math.log10(0.5) - 10 * math.log10(2), -math.inf]
    )


def test_neither_pauses_nor_a_short_end_count():
    mixture = np.ones((1, 899), np.float32)
    mixture[:, :400] = 0.009  # more than 40 dB below the rest
    estimates = np.zeros((1, 1, 899), np.float32)
    estimates[..., :400] = 0.009
    estimates[..., 800:] = 1
    assert measured(mixture, estimates) == [-math.inf]
    assert measured(mixture[:, 800:], estimates[..., 800:]) == [0]


def test_silence_and_nothing_have_no_level():
    assert measured(np.zeros((1, 500), np.float32), np.zeros((2, 1, 500), np.float32)) == [-math.inf] * 2
    assert presence.Meter(queries=1, sample_rate_hz=8000).levels_db() == [-math.inf]


def test_a_level_becomes_a_score_and_a_judgement():
    assert presence.judged(-10, CALIBRATION).score == 0.5
    assert not presence.judged(-13.9, CALIBRATION).absent
    assert presence.judged(-14.1, CALIBRATION).absent
    scores = [presence.judged(level, CALIBRATION).score for level in (-math.inf, -30, -20, -5, 0)]
    assert scores[0] == 0
    assert scores == sorted(scores)
    assert scores[-1] < 1
    assert presence.judged(-20, CALIBRATION, absent_below_db=-30).absent is False
    uncalibrated = presence.judged(-20, None)
    assert (uncalibrated.score, uncalibrated.absent) == (None, None)
    assert presence.judged(-20, None, absent_below_db=-15).absent


def test_the_warning_names_query_level_and_score():
    warning = presence.absence_warning(presence.judged(-20, CALIBRATION), "a dog\nbarks")
    assert warning is not None
    assert warning.startswith(
        "\"'a dog\\nbarks'\" seems not to be in the recording (the estimate is -20.0 dB"
    )
    assert "presence 0.01 of 1" in warning
    assert "silent" in str(presence.absence_warning(presence.judged(-math.inf, CALIBRATION), "rain"))
    assert presence.absence_warning(presence.judged(-5, CALIBRATION), "rain") is None
    assert presence.absence_warning(presence.judged(-50, None), "rain") is None


def test_a_separation_warns_where_its_level_is_too_low(model):
    waveform = scene(1)[0]
    found = model.separate(waveform, RATE, condition=CONDITION).presence
    assert math.isfinite(found.level_db)
    assert (found.score, found.absent) == (None, None)
    query = Query(condition=CONDITION)
    with pytest.warns(AbsentQueryWarning, match="the condition"):
        absent = model.separate(waveform, RATE, query=query, absent_below_db=found.level_db + 0.1).presence
    assert absent.absent
    present = model.separate(waveform, RATE, query=query, absent_below_db=found.level_db - 0.1).presence
    assert present.absent is False


def test_a_file_has_the_same_presence(model, tmp_path):
    import soundfile

    path = tmp_path / "in.wav"
    soundfile.write(path, scene(1).T, RATE, subtype="PCM_24")
    found = model.separate(soundfile.read(path)[0], RATE, condition=CONDITION).presence
    with pytest.warns(AbsentQueryWarning):
        result = model.separate_file(
            path, condition=CONDITION, estimate_path=tmp_path / "e.wav", absent_below_db=found.level_db + 1
        )
    assert result.presence.level_db == pytest.approx(found.level_db, abs=1e-3)


def test_the_calibration_is_a_part_of_the_checkpoint(tmp_path):
    model = random_model()
    folder.save(tmp_path, model.config, model.variables)
    assert audiosep_jax.load(tmp_path).calibration is None
    values = {"midpoint_db": -10, "slope_per_db": 0.5, "absent_below_db": -14}
    (tmp_path / "presence.json").write_text(json.dumps(values))
    assert audiosep_jax.load(tmp_path).calibration == CALIBRATION
    folder.save(tmp_path, model.config, model.variables)
    assert audiosep_jax.load(tmp_path).calibration is None, "it was measured on the weights before"
    for wrong, reason in [
        ("{", "not a readable JSON"),
        ('{"slope": 1}', "unknown field"),
        ("[]", "JSON object"),
    ]:
        (tmp_path / "presence.json").write_text(wrong)
        with pytest.raises(AudioSepError, match=reason):
            audiosep_jax.load(tmp_path)
    with pytest.raises(AudioSepError, match="slope_per_db is 0"):
        presence.Calibration(midpoint_db=0, slope_per_db=0, absent_below_db=0)


def test_the_bundled_model_is_calibrated():
    calibration = presence.load(BUNDLED_CHECKPOINT)
    assert calibration is not None
    assert calibration.absent_below_db < calibration.midpoint_db < 0


@pytest.mark.slow
def test_the_bundled_model_misses_what_is_not_there():
    from audiosep_jax.audio.reading import read_audio

    model = audiosep_jax.load()
    demo = BUNDLED_CHECKPOINT.parent / "demo"
    recording = read_audio(demo / "rain_1.ogg", mono=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        rain, rooster = model.separate_queries(
            recording.waveform[:, : 4 * recording.sample_rate_hz],
            recording.sample_rate_hz,
            queries=["rain", "a rooster crowing"],
        )
    assert rain.presence.score > rooster.presence.score
    assert not rain.presence.absent
    assert rooster.presence.absent
    assert [str(each.message).split('"')[1] for each in caught] == ["a rooster crowing"]
