"""Live separation: blocks keep their length, the latency holds, the result equals the offline one."""

from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import separation_models

import audiosep_jax
from audiosep_jax.audio.reading import read_audio
from audiosep_jax.audio.windows import WindowPlan
from audiosep_jax.config import ModelConfig
from audiosep_jax.errors import AudioSepError
from audiosep_jax.separation import window_plans
from audiosep_jax.separation.live import LiveSeparator, SoundStream, latency_samples, live_plan
from audiosep_jax.separation.options import Options
from audiosep_jax.separation.queries import Query

RATE = separation_models.RATE
CONDITION = np.linspace(-1, 1, separation_models.CONDITION_SIZE)
DEMO = Path(audiosep_jax.__file__).parent / "assets" / "demo"


@pytest.fixture(scope="module")
def model():
    return separation_models.random_model()


@pytest.fixture(scope="module")
def bundled():
    return audiosep_jax.load()


def pushed(live, mixture, sizes):
    """Everything that comes out, and the blocks checked on the way."""
    out, start = [], 0
    for size in sizes:
        block = mixture[..., start : start + size]
        result = live.push(block)
        assert result.shape == block.shape
        assert result.dtype == np.float32
        out.append(result.reshape(-1, result.shape[-1]))
        start += size
    assert start >= mixture.shape[-1]
    return np.concatenate([*out, live.flush()], axis=-1)


def offline(model, mixture, rate, plan, query, **options):
    rows = mixture.reshape(-1, mixture.shape[-1]).astype(np.float32)
    stream = SoundStream(
        model,
        query=query,
        plan=plan,
        lead=0,
        channels=len(rows),
        sample_rate_hz=rate,
        options=Options(**options),
    )
    return np.concatenate([stream.push(rows), stream.flush()], axis=1)


def second_window(live, rate, model_rate):
    """The first sample after the first window."""
    plan = live.plan
    return -(-(plan.stride + plan.left + plan.fade) * rate // model_rate)


def sizes(mixture, *, seed=0, most=3000):
    draw = np.random.default_rng(seed)
    found = []
    while sum(found) < mixture.shape[-1]:
        found.append(int(draw.integers(1, most)))
    return found


@pytest.mark.parametrize(
    ("rate", "channels"), [(RATE, 1), (22_050, 2), pytest.param(48_000, 1, marks=pytest.mark.slow)]
)
def test_live_is_offline_from_the_second_window_on(model, rate, channels):
    mixture = separation_models.scene(6, rate=rate, channels=channels).astype(np.float32)
    live = LiveSeparator(model, sample_rate_hz=rate, channels=channels, condition=CONDITION)
    out = pushed(live, mixture, sizes(mixture))
    late = live.latency_samples
    assert live.latency_seconds == late / rate
    assert out.shape == (channels, mixture.shape[1] + late)
    assert not out[:, :late].any()
    wanted = offline(model, mixture, rate, live.plan, Query(condition=CONDITION))
    # A resampler looks a little ahead into the first window.
    begin = second_window(live, rate, RATE) + (0 if rate == RATE else rate // 50)
    assert begin < 0.6 * mixture.shape[1]
    np.testing.assert_allclose(out[:, late:][:, begin:], wanted[:, begin:], atol=1e-5)
    assert np.abs(wanted[:, begin:]).max() > 0.01
    assert np.abs(out[:, late:][:, : begin // 2] - wanted[:, : begin // 2]).max() > 1e-3


def test_how_the_sound_is_cut_into_blocks_changes_nothing(model):
    mixture = separation_models.scene(3)[0].astype(np.float32)
    results = []
    for cut in ([len(mixture)], [1] * 50 + [len(mixture) - 50], sizes(mixture, most=700)):
        live = LiveSeparator(model, sample_rate_hz=RATE, condition=CONDITION)
        results.append(pushed(live, mixture, cut))
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


def test_in_the_background_the_same_comes_one_stride_later(model):
    mixture = separation_models.scene(4, rate=22_050, channels=2).astype(np.float32)
    made = [
        LiveSeparator(model, sample_rate_hz=22_050, channels=2, condition=CONDITION, background=background)
        for background in (False, True)
    ]
    here, behind = (pushed(live, mixture, sizes(mixture, most=1500)) for live in made)
    stride = made[0].plan.stride * 22_050 / RATE
    later = made[1].latency_samples - made[0].latency_samples
    assert abs(later - stride) <= 1
    np.testing.assert_array_equal(behind[:, later:], here)


def test_everything_but_a_sound_is_the_late_mixture_minus_it(model):
    mixture = separation_models.scene(3, rate=44_100).astype(np.float32)
    that = LiveSeparator(model, sample_rate_hz=44_100, condition=CONDITION)
    rest = LiveSeparator(model, sample_rate_hz=44_100, without=Query(condition=CONDITION))
    late = that.latency_samples
    total = pushed(that, mixture, sizes(mixture)) + pushed(rest, mixture, sizes(mixture, seed=1))
    np.testing.assert_allclose(total[:, late:], mixture, atol=1e-6)


@pytest.mark.slow
def test_the_high_band_and_a_shared_mask_are_live_too(model):
    mixture = separation_models.scene(3, rate=44_100, channels=2).astype(np.float32)
    options = {"high_band": "extend", "channel_mask": "shared"}
    live = LiveSeparator(model, sample_rate_hz=44_100, channels=2, condition=CONDITION, **options)
    out = pushed(live, mixture, sizes(mixture, most=500))[:, live.latency_samples :]
    wanted = offline(model, mixture, 44_100, live.plan, Query(condition=CONDITION), **options)
    begin = second_window(live, 44_100, RATE) + 2000
    np.testing.assert_allclose(out[:, begin:], wanted[:, begin:], atol=1e-5)


@pytest.fixture(scope="module")
def street():
    """A dog in the rain, 5 s of 44.1 kHz."""
    clips = [
        read_audio(DEMO / name, sample_rate_hz=44_100, mono=True).waveform[0]
        for name in ("dog_barking_1.ogg", "rain_1.ogg")
    ]
    return np.sum([0.5 * clip[: 5 * 44_100] for clip in clips], axis=0, keepdims=True)


@pytest.mark.slow
def test_on_real_clips_live_is_offline(bundled, street):
    live = LiveSeparator(bundled, sample_rate_hz=44_100, query="a dog barking")
    assert 1.0 < live.latency_seconds < 1.2
    out = pushed(live, street, [1024] * (street.shape[1] // 1024 + 1))[:, live.latency_samples :]
    wanted = offline(bundled, street, 44_100, live.plan, Query(text="a dog barking"))
    begin = second_window(live, 44_100, 16_000) + 1000
    np.testing.assert_allclose(out[:, begin:], wanted[:, begin:], atol=1e-5)


@pytest.mark.slow
def test_live_windows_differ_from_long_ones_by_less_than_minus_50_db(bundled, street):
    query = {"query": "a dog barking", "level": "as_is"}  # the windows alone are compared
    live = LiveSeparator(bundled, sample_rate_hz=44_100, **query)
    out = pushed(live, street, [street.shape[1]])[:, live.latency_samples :]
    usual = bundled.separate(street, 44_100, **query).estimate
    middle = slice(44_100, -44_100)
    error = np.square(out[:, middle] - usual[:, middle]).sum() / np.square(usual[:, middle]).sum()
    assert 10 * np.log10(error) < -50


class Identity:
    """A model that returns its input, instead of one that takes seconds to compile."""

    def __init__(self, config):
        self.config = type("Experiment", (), {"model": config})
        self.sample_rate_hz = config.sample_rate_hz
        self.calibration = None

    def work(self, queries, options, *, stems=False):
        from audiosep_jax.separation.stream import Work

        return Work(process=lambda windows: windows[:, None], outputs=1, estimates=1)


RATES = st.one_of(st.sampled_from([8000, 11_025, 16_000, 32_000, 44_100, 48_000]), st.integers(4000, 60_000))


@hypothesis.given(rate=RATES, model_rate=st.sampled_from([8000, 16_000, 32_000]), data=st.data())
@hypothesis.settings(max_examples=12)
def test_the_latency_holds_at_any_rate_and_is_not_padded(rate, model_rate, data):
    config = ModelConfig(
        sample_rate_hz=model_rate, window_length=256, hop_length=80, encoder_widths=(4, 4), condition_size=4
    )
    live = LiveSeparator(Identity(config), sample_rate_hz=rate, condition=np.ones(4))
    mixture = np.sin(np.arange(4 * rate) * 0.05).astype(np.float32)
    seed = data.draw(st.integers(0, 2**32 - 1))
    most = data.draw(st.sampled_from([200, 5000]))
    out = pushed(live, mixture, sizes(mixture, seed=seed, most=most))  # raises where the latency is exceeded
    np.testing.assert_allclose(
        out[0, live.latency_samples :][1000:-2000],
        mixture[1000:-2000],
        atol=0.02 if rate > model_rate else 2e-3,
    )
    window = (live.plan.stride + live.plan.fade + live.plan.context) * rate / model_rate
    assert window <= live.latency_samples + 1
    assert live.latency_seconds < window / rate + 0.6


def test_without_resampling_the_latency_is_exact(model):
    live = LiveSeparator(model, sample_rate_hz=RATE, condition=CONDITION)
    plan = live.plan
    assert live.latency_samples == plan.stride + plan.fade + plan.context
    assert latency_samples(plan, sample_rate_hz=RATE, model_rate_hz=RATE, background=True) == (
        2 * plan.stride + plan.fade + plan.context
    )


@pytest.mark.parametrize("config", [ModelConfig(), ModelConfig(sample_rate_hz=16_000, hop_length=256)])
@pytest.mark.parametrize("seconds", [0.01, 0.5, 3])
def test_live_windows_lie_on_the_grid(config, seconds):
    plan, step = live_plan(config, stride_seconds=seconds), window_plans.grid(config)
    assert isinstance(plan, WindowPlan)
    assert plan.stride % step == plan.left % step == (plan.window + config.hop_length) % step == 0
    assert plan.stride >= seconds * config.sample_rate_hz
    assert plan.left >= config.sample_rate_hz
    assert plan.context >= 0.4 * config.sample_rate_hz


def test_a_longer_stride_waits_longer():
    model = Identity(ModelConfig(condition_size=4))
    short, long = (
        LiveSeparator(model, sample_rate_hz=44_100, condition=np.ones(4), stride_seconds=seconds)
        for seconds in (0.3, 0.9)
    )
    assert long.latency_seconds - short.latency_seconds == pytest.approx(2 * 0.32, abs=1e-3)


def test_mistakes_are_refused(model):
    make = {"sample_rate_hz": RATE, "condition": CONDITION}
    for wrong, said in [
        ({"sample_rate_hz": 0}, "0 Hz"),
        ({"channels": 0}, "0 channels"),
        ({"condition": CONDITION[:3]}, "a vector of 16"),
        ({"stride_seconds": 0}, "stride of 0 s"),
        ({"stride_seconds": float("nan")}, "stride of nan s"),
        ({"upstream_windows": True}, "not for live sound"),
    ]:
        with pytest.raises(AudioSepError, match=said):
            LiveSeparator(model, **{**make, **wrong})
    with LiveSeparator(model, channels=2, **make) as live:
        assert live.push(np.zeros((2, 0))).shape == (2, 0)
        for block, said in [
            (np.zeros(9), r"\(9,\) was given: \[2, samples\]"),
            (np.zeros((3, 9)), r"\(3, 9\) was given"),
            (np.full((2, 9), np.nan), "NaN"),
            (np.zeros((2, 9), np.int16), "int16"),
        ]:
            with pytest.raises(AudioSepError, match=said):
                live.push(block)
        np.testing.assert_array_equal(live.push(np.ones((2, 9))), np.zeros((2, 9)))
    for call in (live.flush, lambda: live.push(np.zeros((2, 9)))):
        with pytest.raises(AudioSepError, match="has ended"):
            call()
