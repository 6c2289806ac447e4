"""Arrays in, estimate and residual out: shapes, exactness, windows, queries, errors."""

import jax
import numpy as np
import pytest
from separation_models import CONDITION_SIZE, RATE, random_model, scene

import audiosep_jax
from audiosep_jax.checkpoints import bundled, folder
from audiosep_jax.config import ModelConfig
from audiosep_jax.errors import AudioSepError
from audiosep_jax.separation import window_plans

CONDITION = np.linspace(-1, 1, CONDITION_SIZE)


@pytest.mark.parametrize("rate", [RATE, 44_100])
@pytest.mark.parametrize("samples", [1, 2, 100, 800, 4410, 30_000])
def test_any_length_keeps_shape_rate_and_sum(model, samples, rate):
    waveform = scene(4, rate=RATE, channels=2)[:, :samples]
    result = model.separate(waveform, rate, condition=CONDITION)
    assert result.sample_rate_hz == rate
    assert result.estimate.shape == result.residual.shape == waveform.shape
    assert result.estimate.dtype == result.residual.dtype == np.float32
    assert np.isfinite(result.estimate).all()
    error = np.abs(result.estimate.astype(np.float64) + result.residual - waveform.astype(np.float32))
    assert error.max() <= 2**-23 * np.abs(waveform).max()


def test_decoded_pcm_is_the_sum_bit_for_bit(model):
    steps = np.rint(scene(3, channels=2) * 2**15) / 2**15
    waveform = steps.astype(np.float32)
    result = model.separate(waveform, RATE, condition=CONDITION)
    np.testing.assert_array_equal(result.estimate + result.residual, waveform)
    assert np.abs(result.estimate).max() > 0.01


def test_channels_are_separated_on_their_own(model):
    stereo = scene(3, channels=2)
    both = model.separate(stereo, RATE, condition=CONDITION)
    for channel in range(2):
        alone = model.separate(stereo[channel], RATE, condition=CONDITION)
        assert alone.estimate.shape == stereo[channel].shape
        np.testing.assert_allclose(both.estimate[channel], alone.estimate, atol=2e-6)


def test_it_works_without_compilation(model):
    waveform = scene(0.1)
    compiled = model.separate(waveform, RATE, condition=CONDITION)
    with jax.disable_jit():
        result = model.separate(waveform, RATE, condition=CONDITION)
    np.testing.assert_allclose(result.estimate, compiled.estimate, atol=1e-5)


def test_windows_join_to_the_estimate_of_the_whole(model):
    # Windows begin on the model's pooling grid and its receptive field is shorter than the context, so that
    # cutting must not be audible at all; only the very end, which is mirrored, may differ.
    waveform = scene(33)[0].astype(np.float32)
    plan = window_plans.window_plan(model.config.model, len(waveform))
    assert len(waveform) > 3 * plan.stride
    whole = np.asarray(model.apply(waveform[None], CONDITION[None]))[0]
    result = model.separate(waveform, RATE, condition=CONDITION).estimate
    np.testing.assert_allclose(result[:-1000], whole[:-1000], atol=1e-4)
    difference = result[-1000:] - whole[-1000:]
    assert np.abs(np.diff(difference)).max() <= 2 * np.abs(np.diff(whole)).max()


def test_no_step_where_windows_meet(model):
    time = np.arange(40 * RATE) / RATE
    waveform = 0.5 * np.sin(2 * np.pi * 440 * time)
    estimate = model.separate(waveform, RATE, condition=CONDITION).estimate
    plan = window_plans.window_plan(model.config.model, len(waveform))
    curvature = np.abs(np.diff(estimate, n=2))[RATE : -RATE // 2]
    fades = np.arange(1, 5)[:, None] * plan.stride + plan.context + np.arange(-50, plan.fade + 50)
    fades = fades[fades < len(curvature) + RATE] - RATE
    elsewhere = np.delete(curvature, fades)
    assert curvature[fades].max() <= 1.2 * elsewhere.max()


def test_silence_stays_silence(model):
    result = model.separate(np.zeros((2, 3000)), 44_100, condition=CONDITION)
    assert not result.estimate.any()
    assert not result.residual.any()


def test_the_band_above_the_model_stays_in_the_residual(model):
    time = np.arange(44_100) / 44_100
    above = 0.5 * np.sin(2 * np.pi * 9000 * time)
    result = model.separate(above, 44_100, condition=CONDITION)
    assert np.abs(result.estimate[2000:-2000]).max() < 1e-4
    np.testing.assert_allclose(result.residual[2000:-2000], above[2000:-2000], atol=1e-4)


def test_padding_after_a_short_sound_matters_little(model):
    # 1 s lies in a longer window; the model alone reflects at the end.
    waveform = scene(1)[0].astype(np.float32)
    alone = np.asarray(model.apply(waveform[None], CONDITION[None]))[0]
    result = model.separate(waveform, RATE, condition=CONDITION).estimate
    np.testing.assert_allclose(result[:-1000], alone[:-1000], atol=1e-4)
    assert np.abs(result[-1000:] - alone[-1000:]).max() < 0.5 * np.abs(alone).max()


def test_all_lengths_share_three_windows():
    config = ModelConfig()
    windows = {window_plans.window_plan(config, samples).window for samples in range(1, 60 * 32_000, 997)}
    assert len(windows) == 3


@pytest.mark.parametrize("config", [ModelConfig(), ModelConfig(sample_rate_hz=16_000, window_length=1024)])
def test_five_and_ten_seconds_are_one_window_and_the_grid_is_kept(config):
    step = config.hop_length * config.time_multiple
    for seconds in (5, 10):
        samples = seconds * config.sample_rate_hz
        assert samples <= window_plans.window_plan(config, samples).window < 1.3 * samples + step
    plan = window_plans.window_plan(config, 10**9)
    assert plan.stride % step == 0
    assert (plan.window // config.hop_length + 1) % config.time_multiple == 0
    assert plan.fade >= config.sample_rate_hz // 10


def test_apply_refuses_shapes_that_do_not_fit(model):
    for shapes in [
        ((2, 100), (1, CONDITION_SIZE)),
        ((100,), (CONDITION_SIZE,)),
        ((1, 0), (1, CONDITION_SIZE)),
    ]:
        with pytest.raises(AudioSepError, match=rf"\[batch, {CONDITION_SIZE}\]"):
            model.apply(*map(np.zeros, shapes))


def test_a_query_is_encoded_once_and_equals_its_condition(model, tower):
    waveform = scene(1)[0]
    queries = ("cab", "cab", "hid")
    first, again, other = (model.separate(waveform, RATE, query=query).estimate for query in queries)
    assert tower.encoded == ["cab", "hid"]
    np.testing.assert_array_equal(first, again)
    condition = tower.encode(["cab"])[0]
    np.testing.assert_array_equal(model.separate(waveform, RATE, condition=condition).estimate, first)
    assert np.abs(other - first).max() > 1e-3


def test_saved_and_loaded_it_is_the_same(model, tmp_path):
    folder.save(tmp_path / "checkpoint", model.config, model.variables)
    loaded = audiosep_jax.load(tmp_path / "checkpoint")
    assert loaded.config == model.config
    assert loaded.sample_rate_hz == RATE
    jax.tree.map(np.testing.assert_array_equal, loaded.variables, model.variables)


@pytest.mark.parametrize(
    ("waveform", "rate", "arguments", "reason"),
    [
        (np.zeros(9), RATE, {}, "Give exactly one of query"),
        (np.zeros(9), RATE, {"query": "a", "condition": CONDITION}, "Give exactly one of query"),
        (np.zeros(9), RATE, {"condition": CONDITION[:-1]}, r"shape \(15,\): a vector of 16"),
        (np.zeros(9), RATE, {"condition": CONDITION * np.nan}, "condition holds NaN"),
        (np.zeros(0), RATE, {"condition": CONDITION}, r"shape \(0,\)"),
        (np.float32(1), RATE, {"condition": CONDITION}, r"shape \(\)"),
        (np.zeros((1, 2, 3)), RATE, {"condition": CONDITION}, r"shape \(1, 2, 3\)"),
        (np.zeros((4410, 2)), RATE, {"condition": CONDITION}, r"did you mean waveform\.T\?"),
        (np.zeros(9, np.int16), RATE, {"condition": CONDITION}, "int16"),
        (np.array([0, np.nan]), RATE, {"condition": CONDITION}, "NaN or infinite"),
        (np.array([0, 1e300]), RATE, {"condition": CONDITION}, "NaN or infinite"),
        (np.zeros(9), 0, {"condition": CONDITION}, "0 Hz"),
        (np.zeros(9), 44.1, {"condition": CONDITION}, "44.1 Hz"),
        (np.zeros(9), float("nan"), {"condition": CONDITION}, "nan Hz"),
    ],
)
def test_unusable_arguments_are_refused(model, waveform, rate, arguments, reason):
    with pytest.raises(AudioSepError, match=reason):
        model.separate(waveform, rate, **arguments)


def test_many_channels_and_short_sounds_are_accepted(model):
    for shape in [(64, 3), (65, 65)]:
        assert model.separate(np.zeros(shape), RATE, condition=CONDITION).estimate.shape == shape


def test_a_tower_of_the_wrong_size_is_refused(tower, monkeypatch):
    monkeypatch.setattr(type(tower), "condition_size", 3)
    with pytest.raises(AudioSepError, match="gives 3 numbers, but the model needs 16"):
        random_model().condition(query="dog")


def test_a_missing_bundled_checkpoint_is_an_error(monkeypatch, tmp_path):
    monkeypatch.setattr(bundled, "BUNDLED_CHECKPOINT", tmp_path / "none")
    with pytest.raises(AudioSepError, match="without a checkpoint"):
        audiosep_jax.load()
