"""Recordings of any level are separated alike, sums stay exact, and errors of scale are warned of."""

import dataclasses
import functools
import warnings

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import soundfile
from separation_models import CONDITION_SIZE, RATE, random_model, scene

import audiosep_jax
from audiosep_jax.audio.reading import read_audio
from audiosep_jax.checkpoints import pytorch_shape
from audiosep_jax.errors import ConfigError, WaveformError
from audiosep_jax.separation.live import LiveSeparator
from audiosep_jax.separation.options import Options, settings_for
from audiosep_jax.separation.queries import Query
from audiosep_jax.separation.scale import scale_warning

CONDITION = np.linspace(-1, 1, CONDITION_SIZE)
WORKING_LEVEL_DB = 6.0


def at_level(model, level_db):
    network = dataclasses.replace(model.config.model, working_level_db=level_db)
    return dataclasses.replace(model, config=dataclasses.replace(model.config, model=network))


@functools.cache
def drawn_once():
    """The model of the property below; as a fixture, it would be a part of what hypothesis shows."""
    return at_level(random_model(), WORKING_LEVEL_DB)


@pytest.fixture(scope="module")
def plain():
    return random_model()


@pytest.fixture(scope="module")
def levelled():
    return drawn_once()


def error_db(found, wanted):
    return 20 * np.log10(max(np.linalg.norm(found - wanted) / np.linalg.norm(wanted), 1e-12))


def test_without_a_working_level_a_quiet_recording_gets_another_mask(plain, levelled):
    mixture = scene(2)[0].astype(np.float32)
    loud, quiet = (plain.separate(g * mixture, RATE, condition=CONDITION).estimate for g in (1, 0.01))
    assert error_db(100 * quiet, loud) > -30
    loud, quiet = (levelled.separate(g * mixture, RATE, condition=CONDITION).estimate for g in (1, 0.01))
    assert error_db(100 * quiet, loud) < -100


@hypothesis.given(
    gain_db=st.floats(-60, 0),
    samples=st.sampled_from([700, 4_410, 22_000, 100_000]),
    channels=st.integers(1, 2),
    dtype=st.sampled_from([np.float32, np.float64]),
    channel_mask=st.sampled_from(["each", "shared"]),
    rate=st.sampled_from([RATE, 11_025]),
)
@hypothesis.settings(max_examples=20, deadline=None)
def test_a_gain_of_the_recording_is_a_gain_of_the_estimate(
    gain_db, samples, channels, dtype, channel_mask, rate
):
    model = drawn_once()
    mixture = scene(13, channels=channels)[:, :samples].astype(dtype)
    options = {"condition": CONDITION, "channel_mask": channel_mask}
    gain = 10 ** (gain_db / 20)
    whole = model.separate(mixture, rate, **options)
    scaled = model.separate((gain * mixture).astype(dtype), rate, **options)
    # Rounding may turn a bin whose phase this model leaves undecided; nearly always the error is -100 dB.
    assert error_db(scaled.estimate / gain, whole.estimate) < -40
    assert scaled.presence.level_db == pytest.approx(whole.presence.level_db, abs=0.01)
    total = scaled.estimate.astype(np.float64) + scaled.residual
    wanted = (gain * mixture).astype(np.float32)
    assert np.abs(total - wanted).max() <= 2**-23 * np.abs(wanted).max()


@pytest.mark.parametrize("gain", [1, 1 / 7, 1 / 1000, 32_768])
def test_sums_of_pcm_stay_exact_at_every_level(levelled, gain):
    steps = np.rint(min(gain, 1) * 2**15 * scene(2, channels=2))
    mixture = np.float32(steps / 2**15 * max(gain, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", audiosep_jax.ScaleWarning)
        result = levelled.separate(mixture, RATE, condition=CONDITION)
        stems = levelled.separate_stems(
            mixture, RATE, queries=[Query(condition=CONDITION), Query(condition=-CONDITION)]
        )
    np.testing.assert_array_equal(result.estimate + result.residual, mixture)
    np.testing.assert_array_equal(sum(stems.estimates) + stems.rest, mixture)
    assert result.estimate.any()


@pytest.mark.parametrize("value", [0.0, 1e-42])
def test_silence_stays_silence(levelled, value):
    result = levelled.separate(np.full((2, RATE), value, np.float32), RATE, condition=CONDITION)
    assert np.abs(result.estimate).max() <= value
    np.testing.assert_array_equal(result.residual + result.estimate, np.float32(value))


def test_a_click_in_a_quiet_recording_changes_only_its_surroundings(levelled):
    mixture = np.float32(0.001 * scene(8)[0])
    clicked = mixture.copy()
    clicked[100:120] = 1.0
    alone, beside = (levelled.separate(m, RATE, condition=CONDITION).estimate for m in (mixture, clicked))
    late = slice(5 * RATE, None)
    assert error_db(beside[late], alone[late]) < -20


def test_a_file_is_separated_as_its_waveform(levelled, tmp_path):
    mixture = np.float32(0.003 * scene(13, rate=22_050, channels=2))
    path = tmp_path / "in.wav"
    soundfile.write(path, mixture.T, 22_050, subtype="FLOAT")
    levelled.separate_file(path, condition=CONDITION, estimate_path=tmp_path / "e.wav")
    wanted = levelled.separate(mixture, 22_050, condition=CONDITION).estimate
    np.testing.assert_array_equal(read_audio(tmp_path / "e.wav").waveform, wanted)


def test_live_sound_is_brought_to_its_level_window_by_window(levelled):
    mixture = np.float32(scene(6, channels=2))
    found = []
    for gain, size in ((1.0, 3000), (1e-3, 700)):
        live = LiveSeparator(levelled, sample_rate_hz=RATE, channels=2, condition=CONDITION)
        blocks = [live.push(np.float32(gain) * mixture[:, a : a + size]) for a in range(0, 6 * RATE, size)]
        found.append(np.concatenate([*blocks, live.flush()], axis=1)[:, live.latency_samples :] / gain)
    assert error_db(found[1], found[0]) < -90
    usual = levelled.separate(mixture, RATE, condition=CONDITION).estimate
    middle = slice(3 * RATE, 5 * RATE)
    assert error_db(found[0][:, middle], usual[:, middle]) < -15


def test_live_sound_follows_a_recording_that_becomes_quiet(levelled):
    mixture = np.float32(scene(80)[0])
    mixture[40 * RATE :] *= 0.001
    live = LiveSeparator(levelled, sample_rate_hz=RATE, condition=CONDITION)
    found = np.concatenate([live.push(mixture), live.flush()[0]])[live.latency_samples :]
    late = slice(73 * RATE, 79 * RATE)
    wanted = levelled.separate(mixture[60 * RATE :], RATE, condition=CONDITION).estimate
    assert error_db(found[late], wanted[13 * RATE : 19 * RATE]) < -15


def test_as_is_is_the_model_without_a_working_level(plain, levelled):
    mixture = 0.01 * scene(2)[0]
    as_is = levelled.separate(mixture, RATE, condition=CONDITION, level="as_is")
    before = plain.separate(mixture, RATE, condition=CONDITION)
    np.testing.assert_array_equal(as_is.estimate, before.estimate)
    assert settings_for("reference").options.level == "as_is"
    assert settings_for("reference", level="working").options.level == "working"
    assert settings_for("standard").options.level == "working"
    with pytest.raises(ConfigError, match="level is 'loud': choose one of working, as_is"):
        Options(level="loud")  # pyright: ignore[reportArgumentType]


def test_a_working_level_that_no_model_has_is_refused(plain):
    with pytest.raises(ConfigError, match="working_level_db is 90"):
        at_level(plain, 90)


@pytest.mark.parametrize("scale", [2**15, 2**23])
def test_integers_that_were_never_divided_are_separated_with_a_warning(levelled, scale):
    mixture = np.float32(scene(2)[0])
    with pytest.warns(audiosep_jax.ScaleWarning, match=f"samples reach .*: divide by {scale}") as caught:
        result = levelled.separate(scale * mixture, RATE, condition=CONDITION)
    assert [each.filename for each in caught] == [__file__]
    wanted = levelled.separate(mixture, RATE, condition=CONDITION)
    assert error_db(result.estimate / scale, wanted.estimate) < -100


def test_integer_arrays_are_told_what_to_divide_by(levelled):
    with pytest.raises(WaveformError, match=r"type int16: .* as in waveform / 32768"):
        levelled.separate(np.zeros(100, np.int16), RATE, condition=CONDITION)


def test_files_and_live_sound_far_beyond_full_scale_are_warned_of(levelled, tmp_path):
    path = tmp_path / "in.wav"
    soundfile.write(path, 20 * scene(1)[0], RATE, subtype="FLOAT")
    with pytest.warns(audiosep_jax.ScaleWarning, match=r"in\.wav: samples reach \d+, .* scale them down"):
        found = levelled.separate_file(path, condition=CONDITION, estimate_path=tmp_path / "e.wav")
    assert found.peak == pytest.approx(20 * np.abs(scene(1)).max(), rel=1e-6)
    live = LiveSeparator(levelled, sample_rate_hz=RATE, condition=CONDITION)
    block = np.full(100, 40.0, np.float32)
    with pytest.warns(audiosep_jax.ScaleWarning, match="samples reach 40"):
        live.push(block)
    live.push(block)  # one warning is enough


def test_sound_above_full_scale_is_no_scale_error():
    assert scale_warning(7.9) is None


def test_imported_checkpoints_have_no_working_level():
    assert {config.working_level_db for config in pytorch_shape.PRESETS.values()} == {None}
