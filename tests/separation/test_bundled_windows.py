"""The bundled model on a long sound: estimates in windows against the estimate of the whole.

Its receptive field spans seconds, and 1.25 s of context are an approximation; this measures how good a one.
"""

import numpy as np
import pytest

import audiosep_jax
from audiosep_jax.audio.reading import read_audio
from audiosep_jax.checkpoints import bundled
from audiosep_jax.separation import window_plans

DEMO = bundled.BUNDLED_CHECKPOINT.parent / "demo"
CLIPS = ["dog_barking_1", "rain_1", "birds_1", "cat_meowing_1", "wind_1", "rooster_1"]


@pytest.fixture(scope="module")
def bundled():
    return audiosep_jax.load()


@pytest.fixture(scope="module")
def mixture(bundled):
    """29 s in which always two of the demo's sounds are heard, and others follow."""
    rate = bundled.sample_rate_hz
    sounds = [read_audio(DEMO / f"{clip}.ogg", sample_rate_hz=rate, mono=True).waveform[0] for clip in CLIPS]
    joined = np.concatenate(sounds)
    return (0.5 * joined + 0.35 * np.roll(joined, 7 * rate)).astype(np.float32)


def energy_db(part, whole):
    return 10 * np.log10(np.square(part, dtype=np.float64).sum() / np.square(whole, dtype=np.float64).sum())


@pytest.mark.parametrize(
    "query",
    ["a dog barking", *(pytest.param(one, marks=pytest.mark.slow) for one in ("rain", "birds chirping"))],
)
def test_windows_agree_with_the_whole_and_do_not_step(bundled, mixture, query):
    rate, plan = bundled.sample_rate_hz, window_plans.window_plan(bundled.config.model, len(mixture))
    condition = bundled.condition(query=query)
    whole = np.asarray(bundled.apply(mixture[None], condition[None]))[0]
    error = bundled.separate(mixture, rate, query=query, level="as_is").estimate - whole
    # The mirrored last second is no matter of borders.
    whole, error = whole[:-rate], error[:-rate]
    starts = np.arange(1, 1 + -(-(len(mixture) - plan.window) // plan.stride)) * plan.stride + plan.context
    assert len(starts) == 3
    assert starts[-1] + plan.fade + rate < len(whole)

    # Measured for these queries: -93, -83 and -69 dB near the borders, -103, -90 and -67 dB over all.
    near = np.concatenate([np.arange(at - rate // 2, at + plan.fade + rate // 2) for at in starts])
    assert energy_db(error[near], whole[near]) <= -50
    assert energy_db(error[rate:], whole[rate:]) <= -50

    # A step would be a jump of the error from one sample to the next where a fade begins or ends. Measured:
    # at most 0.2 of the largest elsewhere around the fade, and 0.003 % of the largest in the estimate there.
    jumps = np.abs(np.diff(error))
    for at in starts:
        around = np.arange(at - rate // 2, at + plan.fade + rate // 2)
        edges = np.concatenate([np.arange(edge - 2, edge + 2) for edge in (at, at + plan.fade)])
        step = jumps[edges].max()
        assert step <= 1.5 * jumps[np.setdiff1d(around, edges)].max()
        assert step <= 0.001 * np.abs(np.diff(whole[around])).max()
