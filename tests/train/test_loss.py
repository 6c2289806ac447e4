"""The two losses next to their formulas."""

import jax
import jax.numpy as jnp
import numpy as np

from audiosep_jax.train.loss import waveform_loss


def waveforms():
    draw = np.random.default_rng(0)
    return [jnp.float32(draw.standard_normal((3, 200))) for _ in range(3)]


def test_l1_is_the_mean_absolute_error():
    estimate, target, mixture = waveforms()
    loss = waveform_loss("l1", estimate=estimate, target=target, mixture=mixture)
    np.testing.assert_allclose(loss, np.abs(np.asarray(estimate) - np.asarray(target)).mean(), rtol=1e-6)


def test_snr_is_the_error_next_to_the_mixture_in_db():
    estimate, target, mixture = waveforms()
    loss = waveform_loss("snr", estimate=estimate, target=target, mixture=mixture)
    error, energy = (np.mean(np.asarray(x, np.float64) ** 2, -1) for x in (estimate - target, mixture))
    np.testing.assert_allclose(loss, np.mean(10 * np.log10(error / energy + 1e-3)), rtol=1e-5)


def test_snr_is_limited_at_minus_30_db_and_independent_of_the_level():
    estimate, target, mixture = waveforms()
    perfect = waveform_loss("snr", estimate=target, target=target, mixture=mixture)
    np.testing.assert_allclose(perfect, -30, atol=1e-3)
    loud, quiet = (
        waveform_loss("snr", estimate=k * estimate, target=k * target, mixture=k * mixture)
        for k in (1.0, 0.01)
    )
    np.testing.assert_allclose(loud, quiet, atol=1e-2)


def test_silent_targets_have_a_limit_of_their_own():
    estimate, target, mixture = waveforms()
    silent = jnp.zeros_like(target)
    options = {"target": silent, "mixture": mixture, "silence_floor_db": -15.0}
    np.testing.assert_allclose(waveform_loss("snr", estimate=silent, **options), -15, atol=1e-3)
    limited = waveform_loss("snr", estimate=mixture, **options)
    np.testing.assert_allclose(limited, 10 * np.log10(1 + 10**-1.5), atol=1e-3)
    arguments = {"estimate": estimate, "target": target, "mixture": mixture}
    assert waveform_loss("snr", **arguments) == waveform_loss("snr", **arguments, silence_floor_db=-15.0)


def test_silence_gives_finite_losses_and_gradients():
    silence = jnp.zeros((2, 50))
    for kind in ("l1", "snr"):
        value, gradient = jax.value_and_grad(
            lambda x, kind=kind: waveform_loss(kind, estimate=x, target=silence, mixture=silence)
        )(silence)
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()
