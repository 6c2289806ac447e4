"""Cross-faded windows: lengths, identity, linearity, no steps, one shape, constant memory."""

import dataclasses
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audiosep_jax.audio.windows import OverlapAdd, WindowPlan
from audiosep_jax.errors import AudioSepError


@st.composite
def plans(draw):
    context, fade = draw(st.integers(0, 20)), draw(st.integers(0, 20))
    left = draw(st.none() | st.integers(0, 20))
    contexts = context + (context if left is None else left)
    window = contexts + 2 * fade + draw(st.integers(1, 60))
    return WindowPlan(window=window, context=context, fade=fade, left_context=left)


def run(process, waveform, *, plan, batch_size=1, block=7, **arguments):
    stream = OverlapAdd(process, plan=plan, channels=len(waveform), batch_size=batch_size, **arguments)
    blocks = [stream.push(waveform[:, i : i + block]) for i in range(0, waveform.shape[1], block)]
    return np.concatenate([*blocks, stream.flush()], axis=1)


def noise(channels, samples, seed=0):
    return np.random.default_rng(seed).normal(size=(channels, samples)).astype(np.float32)


@settings(deadline=None, max_examples=200)
@given(
    plan=plans(),
    samples=st.integers(1, 600),
    channels=st.integers(1, 3),
    batch_size=st.integers(1, 5),
    block=st.integers(1, 700),
)
def test_identity_returns_the_input_whatever_the_cut(plan, samples, channels, batch_size, block):
    shapes = set()

    def identity(batch):
        shapes.add(batch.shape)
        return batch

    waveform = noise(channels, samples)
    result = run(identity, waveform, plan=plan, batch_size=batch_size, block=block)
    assert shapes == {(batch_size, plan.window)}
    np.testing.assert_array_equal(result, waveform)


@settings(deadline=None, max_examples=50)
@given(plan=plans(), samples=st.integers(1, 400), scale=st.floats(-4, 4, width=32))
def test_linear_in_what_the_function_returns(plan, samples, scale):
    waveform, kernel = noise(1, samples), np.linspace(1, 2, plan.window, dtype=np.float32)
    single = run(lambda batch: batch * kernel, waveform, plan=plan)
    scaled = run(lambda batch: batch * kernel * np.float32(scale), waveform, plan=plan)
    np.testing.assert_allclose(scaled, single * np.float32(scale), rtol=1e-5, atol=1e-5)


def test_windows_that_disagree_fade_from_one_level_to_the_next_without_a_step():
    plan = WindowPlan(window=1000, context=100, fade=200)
    levels = iter(np.tile([0.0, 1.0], 20))
    result = run(lambda batch: np.full_like(batch, next(levels)), noise(1, 5000), plan=plan, block=333)[0]
    # The steepest slope of a raised cosine over 200 samples.
    assert np.abs(np.diff(result)).max() <= np.pi / 2 / plan.fade
    assert result.min() == 0
    assert result.max() == 1


def test_results_for_the_context_are_discarded():
    plan = WindowPlan(window=100, context=10, fade=5)

    def spoiled_borders(batch):
        batch = batch.copy()
        batch[:, : plan.context] = batch[:, -plan.context :] = np.nan
        return batch

    waveform = noise(2, 1003)
    result = run(spoiled_borders, waveform, plan=plan)
    np.testing.assert_array_equal(result[:, 10:-10], waveform[:, 10:-10])
    assert np.isnan(result[:, :10]).all()  # the first window reaches to the beginning, the last to the end
    assert np.isnan(result[:, -10:]).all()


def test_channels_do_not_mix_and_share_batches():
    calls = []

    def negate(batch):
        calls.append(len(batch))
        return -batch

    waveform = noise(3, 500)
    result = run(negate, waveform, plan=WindowPlan(window=100, context=10, fade=10), batch_size=4)
    np.testing.assert_array_equal(result, -waveform)
    windows = 1 + -(-(500 - 100) // 70)
    assert len(calls) == -(-3 * windows // 4)


@pytest.mark.parametrize("short_last", [False, True])
def test_memory_does_not_grow_with_the_waveform(short_last):
    plan = WindowPlan(window=100, context=10, fade=10, short_last=short_last)
    stream = OverlapAdd(lambda batch: batch, plan=plan, channels=1, batch_size=3)
    held, returned = [], 0
    for step in range(300):
        returned += stream.push(noise(1, 77, seed=step)).shape[1]
        held.append(
            stream._buffer.size
            + stream._tail.size
            + sum(row.size for row in stream._waiting + stream._processed)
        )
        assert step * 77 + 77 - returned <= 5 * plan.window
    assert max(held) <= 8 * plan.window


def test_short_sound_is_mirrored_and_followed_by_silence():
    seen = []
    plan = WindowPlan(window=20, context=3, fade=2)
    waveform = np.arange(1, 9, dtype=np.float32)[None]
    run(lambda batch: seen.append(batch) or batch, waveform, plan=plan)
    np.testing.assert_array_equal(seen[0][0], [1, 2, 3, 4, 5, 6, 7, 8, 7, 6, 5, *[0] * 9])


@settings(deadline=None, max_examples=100)
@given(
    plan=plans(),
    samples=st.integers(1, 600),
    channels=st.integers(1, 3),
    batch_size=st.integers(1, 5),
    block=st.integers(1, 700),
)
def test_a_short_last_window_ends_with_the_waveform(plan, samples, channels, batch_size, block):
    shapes = []

    def identity(batch):
        shapes.append(batch.shape)
        return batch

    plan = dataclasses.replace(plan, short_last=True)
    waveform = noise(channels, samples)
    result = run(identity, waveform, plan=plan, batch_size=batch_size, block=block)
    np.testing.assert_array_equal(result, waveform)
    assert {rows for rows, _ in shapes} == {batch_size}
    windows = 1 + max(0, -(-(samples - plan.window) // plan.stride))
    rest = samples - (windows - 1) * plan.stride
    last_calls = -(-channels // batch_size)
    if rest < plan.window:
        assert [length for _, length in shapes[-last_calls:]] == [rest] * last_calls
        shapes = shapes[:-last_calls]
        assert windows == 1 or rest > plan.left + plan.context + plan.fade
    assert {length for _, length in shapes} <= {plan.window}


@pytest.mark.parametrize("short_last", [False, True])
def test_nothing_in_nothing_out(short_last):
    plan = WindowPlan(window=20, context=3, fade=2, short_last=short_last)
    assert run(lambda batch: batch, np.zeros((2, 0), np.float32), plan=plan).shape == (2, 0)


@pytest.mark.parametrize(
    ("window", "context", "fade", "left"),
    [(10, 5, 1, None), (10, 0, 6, None), (10, -1, 2, None), (10, 2, -1, None), (10, 1, 0, 9), (10, 1, 1, -1)],
)
def test_impossible_plans_are_refused(window, context, fade, left):
    with pytest.raises(AudioSepError, match=f"Windows of {window} samples"):
        WindowPlan(window=window, context=context, fade=fade, left_context=left)


def test_contexts_of_different_lengths_are_discarded_each():
    plan = WindowPlan(window=100, left_context=30, context=5, fade=4)
    assert plan.stride == 61

    def spoiled_borders(batch):
        batch = batch.copy()
        batch[:, :30] = batch[:, -5:] = np.nan
        return batch

    waveform = noise(2, 1003)
    result = run(spoiled_borders, waveform, plan=plan)
    np.testing.assert_array_equal(result[:, 30:-5], waveform[:, 30:-5])
    assert np.isnan(result[:, :30]).all()
    assert np.isnan(result[:, -5:]).all()


@settings(deadline=None, max_examples=25)
@given(
    plan=plans(),
    samples=st.integers(1, 600),
    batch_size=st.integers(1, 3),
    block=st.integers(1, 700),
    short_last=st.booleans(),
)
def test_concurrent_calls_and_inner_axes_change_no_bit(plan, samples, batch_size, block, short_last):
    # Two signals in a row, three answers of each: the function mixes them as it likes.
    plan = dataclasses.replace(plan, short_last=short_last)
    kernel = noise(3, 2)

    def process(batch):
        return np.einsum("bin,oi->bon", batch, kernel) * np.cos(np.arange(batch.shape[-1], dtype=np.float32))

    waveform = noise(4, samples).reshape(2, 2, samples)
    arguments = {"plan": plan, "batch_size": batch_size, "inputs": (2,), "outputs": (3,)}
    alone = OverlapAdd(process, channels=2, **arguments)
    result = np.concatenate([alone.push(waveform), alone.flush()], axis=-1)
    assert result.shape == (2, 3, samples)
    threaded = OverlapAdd(process, channels=2, in_flight=2, **arguments)
    parts = [threaded.push(waveform[..., at : at + block]) for at in range(0, samples, block)]
    np.testing.assert_array_equal(np.concatenate([*parts, threaded.flush()], axis=-1), result)


def test_two_calls_are_computed_at_once_and_no_more():
    plan, both, most, now = WindowPlan(window=10, context=1, fade=2), threading.Barrier(2), [], []

    def process(batch):
        now.append(None)
        most.append(len(now))
        both.wait(timeout=10)  # passes only if another call waits at the same time
        now.pop()
        return batch

    waveform = noise(1, 2 + 8 * 6 + 2)
    result = run(process, waveform, plan=plan, in_flight=2)
    np.testing.assert_array_equal(result, waveform)
    assert max(most) == 2
    assert len(most) == 8


def test_an_error_in_a_thread_is_raised_and_waiting_calls_are_cancelled():
    def process(batch):
        raise ZeroDivisionError

    stream = OverlapAdd(
        process, plan=WindowPlan(window=10, context=1, fade=2), channels=1, batch_size=1, in_flight=2
    )
    with pytest.raises(ZeroDivisionError):
        stream.push(noise(1, 500))
    stream.close()
