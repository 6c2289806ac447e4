"""The reference's windows: its golden records, its algorithm at any length, and its mistakes."""

import golden
import numpy as np
import pytest
from golden_inputs import SEED, waveform
from hypothesis import given
from hypothesis import strategies as st
from separation_models import CONDITION_SIZE, RATE, scene, scene_file

from audiosep_jax.audio.reading import read_audio
from audiosep_jax.audio.windows import OverlapAdd, WindowPlan
from audiosep_jax.config import ExperimentConfig
from audiosep_jax.separation import window_plans
from audiosep_jax.separation.api import AudioSep

CONDITION = np.linspace(-1, 1, CONDITION_SIZE)


@pytest.fixture(scope="module")
def base():
    """The reference's model with the seeded weights; the lengths below share its program for 5 s."""
    return AudioSep(ExperimentConfig(model=golden.CONFIGS["base"]), golden.variables("base"))


def golden_estimate(base, samples):
    mixture = waveform(samples, SEED + 3)
    result = base.separate(mixture, 32_000, condition=golden.conditions()[0], upstream_windows=True)
    return result.estimate, golden.record()[f"chunk_inference/{samples}/every_37th"]


@pytest.mark.slow
@pytest.mark.parametrize("samples", [160_001, 200_000, 400_001])
def test_the_golden_chunks_of_the_reference_are_met(base, samples):
    estimate, expected = golden_estimate(base, samples)
    assert np.abs(expected).max() > 0.05
    np.testing.assert_allclose(estimate[::37], expected, rtol=0, atol=1e-4)


@pytest.mark.slow
def test_a_sound_that_the_reference_silences_is_one_pass(base):
    estimate, expected = golden_estimate(base, 159_999)
    assert not expected.any(), "the record must show the defect"
    mixture = waveform(159_999, SEED + 3)
    whole = np.asarray(base.apply(mixture[None], golden.conditions()[:1]))[0]
    np.testing.assert_allclose(estimate, whole, rtol=0, atol=1e-6)
    assert np.abs(estimate).max() > 0.05


@pytest.mark.parametrize("samples", [1, 5 * RATE])
def test_up_to_five_seconds_are_one_pass(model, samples):
    mixture = scene(5)[0].astype(np.float32)[:samples]
    estimate = model.separate(mixture, RATE, condition=CONDITION, upstream_windows=True).estimate
    whole = np.asarray(model.apply(mixture[None], CONDITION[None]))[0]
    np.testing.assert_allclose(estimate, whole, rtol=0, atol=1e-6)


def chunk_inference(process, mixture, *, left, centre, right):
    """The reference's algorithm (AudioSep, models/resunet.py), tails that are overwritten included."""
    window, length, index = left + centre + right, len(mixture), 0
    out = np.zeros(length, np.float32)
    while index + window < length:
        chunk = process(mixture[index : index + window])
        if index == 0:
            out[: window - right] = chunk[:-right]
        else:
            out[index + left : index + window - right] = chunk[left:-right]
        index += centre
        if index < length:
            chunk = process(mixture[index : index + window])
            out[index + left : index + len(chunk)] = chunk[left:]
    return out


def marked(rows):
    """Says what a model must not say: every sample depends on the whole window and its place in it."""
    place = np.arange(rows.shape[-1], dtype=np.float32)
    return rows * np.cos(place) + np.sum(rows, axis=-1, keepdims=True) / rows.shape[-1]


@given(
    samples=st.integers(1, 400),
    second=st.integers(1, 20),
    channels=st.integers(1, 3),
    batch_size=st.integers(1, 5),
    block=st.integers(1, 500),
)
def test_any_length_is_cut_as_the_reference_cuts_it(samples, second, channels, batch_size, block):
    lengths = []

    def process(batch):
        lengths.append(batch.shape)
        return np.stack([marked(row) for row in batch])

    mixture = np.random.default_rng(samples).normal(size=(channels, samples)).astype(np.float32)
    plan = WindowPlan(window=5 * second, context=second, fade=0, short_last=True)
    stream = OverlapAdd(process, plan=plan, channels=channels, batch_size=batch_size)
    blocks = [stream.push(mixture[:, i : i + block]) for i in range(0, samples, block)]
    result = np.concatenate([*blocks, stream.flush()], axis=1)
    cut = {"left": second, "centre": 3 * second, "right": second}
    if samples > plan.window:
        expected = np.stack([chunk_inference(marked, row, **cut) for row in mixture])
    else:
        expected = np.stack([marked(row) for row in mixture])
        assert not chunk_inference(marked, mixture[0], **cut).any()
    np.testing.assert_array_equal(result, expected)
    windows = 1 + max(0, -(-(samples - plan.window) // plan.stride))
    assert {rows for rows, _ in lengths} == {batch_size}
    assert len(lengths) <= -(-channels * (windows - 1) // batch_size) + -(-channels // batch_size)
    assert lengths[-1][1] == samples - (windows - 1) * plan.stride


def test_files_and_arrays_are_cut_as_the_reference_cuts_them(model, tmp_path):
    path = scene_file(tmp_path / "in.wav", 10, channels=2, subtype="PCM_24")
    out = tmp_path / "estimate.wav"
    model.separate_file(path, condition=CONDITION, estimate_path=out, upstream_windows=True)
    recording = read_audio(path)
    arguments = {"sample_rate_hz": recording.sample_rate_hz, "condition": CONDITION}
    wanted = model.separate(recording.waveform, upstream_windows=True, **arguments).estimate
    np.testing.assert_allclose(read_audio(out).waveform, wanted, atol=2**-23)
    process = lambda window: np.asarray(model.apply(window[None], CONDITION[None]))[0]  # noqa: E731
    for row, channel in zip(recording.waveform, wanted, strict=True):
        expected = chunk_inference(process, row, left=RATE, centre=3 * RATE, right=RATE)
        np.testing.assert_allclose(channel, expected, atol=1e-6)


def test_the_plan_is_five_seconds_with_one_of_context():
    plan = window_plans.upstream_plan(golden.CONFIGS["dcase"])
    assert (plan.window, plan.context, plan.stride) == (80_000, 16_000, 48_000)
