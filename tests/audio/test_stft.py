"""The transform against PyTorch and NumPy, its inverse, its gradient, and mistakes."""

import math
from pathlib import Path

import golden
import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
import pytest

from audiosep_jax.audio.stft import istft, stft

RECORDS = np.load(Path(__file__).parents[1] / "data" / "torch_records.npz")
CASES = sorted({tuple(map(int, name.split("/")[1:3])) for name in RECORDS if name.startswith("stft/")})


def hann(window_length):
    return np.sin(np.pi * np.arange(window_length) / window_length) ** 2


def joined(real, imag):
    return np.asarray(real) + 1j * np.asarray(imag)


def plain_stft(waveform, window_length, hop_length):
    """The definition, frame by frame, in float64."""
    padded = np.pad(np.float64(waveform), ((0, 0), (window_length // 2,) * 2), mode="reflect")
    starts = range(0, waveform.shape[-1] + 1, hop_length)
    frames = [padded[:, start : start + window_length] * hann(window_length) for start in starts]
    return np.fft.rfft(np.stack(frames, 1))


def window_sum(samples, window_length, hop_length):
    """Sum of the squared windows over each sample."""
    total = np.zeros(samples + 2 * window_length)
    for start in range(0, samples + 1, hop_length):
        total[start : start + window_length] += hann(window_length) ** 2
    return total[window_length // 2 :][:samples]


@pytest.mark.parametrize("name", list(golden.CONFIGS))
def test_the_transform_equals_the_reference(name):
    config, record = golden.CONFIGS[name], golden.record()
    transform = jax.jit(lambda x: stft(x, window_length=config.window_length, hop_length=config.hop_length))
    real, imag = (np.asarray(part)[:, ::25] for part in transform(golden.mixtures()))
    magnitude = np.sqrt(np.maximum(real**2 + imag**2, 1e-10))
    expected = record[f"{name}/stft_mag_every_25th_frame"]
    np.testing.assert_allclose(magnitude, expected, rtol=1e-4, atol=1e-5)
    # Real and imaginary part, each next to the magnitude that is its scale.
    for part, phase in ((real, "cos"), (imag, "sin")):
        error = np.abs(part - expected * record[f"{name}/stft_{phase}_every_25th_frame"])
        assert (error <= 1e-4 * expected + 1e-5).all()


@pytest.mark.parametrize(("window", "hop"), CASES)
def test_the_transform_and_its_inverse_equal_pytorch(window, hop):
    place = f"stft/{window}/{hop}"
    waveform, spectrum = RECORDS[f"{place}/waveform"], RECORDS[f"{place}/spectrum"]
    real, imag = stft(jnp.asarray(waveform), window_length=window, hop_length=hop)
    np.testing.assert_allclose(joined(real, imag), spectrum, atol=1e-6 * window)
    changed = RECORDS[f"{place}/changed"]
    real, imag = jnp.asarray(changed.real), jnp.asarray(changed.imag)
    back = istft(real, imag, window_length=window, hop_length=hop, samples=waveform.shape[-1])
    np.testing.assert_allclose(back, RECORDS[f"{place}/inverse"], rtol=1e-4, atol=1e-5)


@hypothesis.settings(max_examples=8)
@hypothesis.given(
    half=st.sampled_from([1, 4, 9, 32, 100]), hop_share=st.floats(0.12, 1), extra=st.integers(1, 700)
)
def test_the_inverse_gives_the_waveform_back_for_any_hop_up_to_half_the_window(half, hop_share, extra):
    window, hop, samples = 2 * half, math.ceil(hop_share * half), half + extra
    waveform = np.random.default_rng(extra).uniform(-1, 1, (1, samples)).astype(np.float32)

    @jax.jit
    def there_and_back(x):
        real, imag = stft(x, window_length=window, hop_length=hop)
        return real, imag, istft(real, imag, window_length=window, hop_length=hop, samples=samples)

    real, imag, back = there_and_back(waveform)
    assert real.shape == (1, samples // hop + 1, half + 1)
    expected = plain_stft(waveform, window, hop)
    np.testing.assert_allclose(joined(real, imag), expected, atol=1e-6 * window)
    # Rounding grows where only the tail of one window covers a sample.
    weight = window_sum(samples, window, hop)
    covered = weight > 1e-10
    assert covered.mean() > 1 - 2 / samples
    error = np.abs(back - waveform)[0, covered]
    assert (error <= 5e-6 / np.sqrt(weight[covered])).all()


def test_samples_that_no_frame_covers_are_zero():
    real, imag = stft(jnp.ones((1, 40)), window_length=16, hop_length=8)
    back = istft(real, imag, window_length=16, hop_length=8, samples=60)
    assert back.shape == (1, 60)
    np.testing.assert_allclose(back[:, :40], 1, atol=1e-5)
    assert not np.asarray(back)[:, 48:].any()


@pytest.mark.parametrize(("window", "hop"), [(8, 4), (8, 3), (12, 5)])
def test_gradients_equal_finite_differences(window, hop):
    with jax.enable_x64(True):
        waveform = np.random.default_rng(0).standard_normal((2, 21))
        forward = jax.jit(lambda x: stft(x, window_length=window, hop_length=hop))
        jax.test_util.check_grads(forward, (waveform,), order=1, modes=("fwd", "rev"))
        inverse = jax.jit(lambda r, i: istft(r, i, window_length=window, hop_length=hop, samples=21))
        parts = forward(waveform)
        assert all(part.dtype == jnp.float64 for part in parts)
        jax.test_util.check_grads(inverse, parts, order=1, modes=("fwd", "rev"))


def test_results_are_real_float32_and_equal_inside_and_outside_of_jit():
    waveform = jnp.float32(np.random.default_rng(0).standard_normal((3, 100)))
    plain = stft(waveform, window_length=32, hop_length=10)
    jitted = jax.jit(lambda x: stft(x, window_length=32, hop_length=10))(waveform)
    for one, two in zip(plain, jitted, strict=True):
        assert one.dtype == two.dtype == np.float32
        np.testing.assert_allclose(one, two, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "window", "hop", "message"),
    [
        ((1, 512), 1024, 100, "has 512 samples; a window of 1024 needs more than 512"),
        ((1, 100), 31, 10, "window_length 31 must be even"),
        ((1, 100), 32, 0, "hop_length 0"),
        ((1, 100), 32, 33, "hop_length 33"),
    ],
)
def test_impossible_transforms_are_refused(shape, window, hop, message):
    with pytest.raises(ValueError, match=message):
        stft(jnp.zeros(shape), window_length=window, hop_length=hop)


def test_one_sample_more_than_half_a_window_is_enough():
    real, _ = stft(jnp.ones((1, 17)), window_length=32, hop_length=16)
    assert real.shape == (1, 2, 17)


def test_spectra_of_the_wrong_size_are_refused():
    part = jnp.zeros((1, 4, 17))
    with pytest.raises(ValueError, match=r"must both be \[batch, frames, 9\]"):
        istft(part, part, window_length=16, hop_length=8, samples=10)
