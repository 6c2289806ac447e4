"""Checks of the arrays and numbers that users give to the separator."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32

from audiosep_jax.audio.pcm import LOUDEST
from audiosep_jax.errors import QueryError, WaveformError

# An array with more rows than this, and than columns, is in soundfile's layout, [samples, channels].
_MAX_CHANNELS = 64


def checked_waveform(waveform: Any) -> Float32[np.ndarray, "*channels samples"]:
    """Returns a waveform as float32, `[samples]` or `[channels, samples]`.

    Raises:
      WaveformError: another shape or type, no sample, or samples that are not finite.
    """
    array = np.asarray(waveform)
    if array.ndim not in (1, 2) or array.size == 0:
        raise WaveformError(
            f"The waveform has shape {array.shape}: [samples] or [channels, samples] is needed, with at "
            "least one sample."
        )
    if array.ndim == 2 and array.shape[0] > max(array.shape[1], _MAX_CHANNELS):
        raise WaveformError(
            f"The waveform has shape {array.shape}, which is {array.shape[0]} channels of {array.shape[1]} "
            "samples: did you mean waveform.T?"
        )
    if np.issubdtype(array.dtype, np.signedinteger):
        raise WaveformError(
            f"The waveform is of type {array.dtype}: floating point in ±1 is needed, as in "
            f"waveform / {np.iinfo(array.dtype).max + 1}."
        )
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise WaveformError(f"The waveform is of type {array.dtype}: floating point in ±1 is needed.")
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise WaveformError("The waveform holds NaN or infinite samples: remove them first.")
    if (loudest := np.abs(array).max()) > LOUDEST:
        raise WaveformError(
            f"The waveform holds samples of {loudest:.2g}, where full scale is 1: scale it down."
        )
    return array


def checked_rate(sample_rate_hz: Any) -> int:
    """Returns a sample rate in Hz as an integer.

    Raises:
      WaveformError: it is no positive whole number.
    """
    if not np.isfinite(sample_rate_hz) or sample_rate_hz < 1 or int(sample_rate_hz) != sample_rate_hz:
        raise WaveformError(
            f"A sample rate of {sample_rate_hz} Hz was given: a positive whole number is needed."
        )
    return int(sample_rate_hz)


def checked_condition(condition: Any, size: int) -> Float32[np.ndarray, " size"]:
    """Returns a condition as float32 `[size]`.

    Raises:
      QueryError: another shape, no numbers, or numbers that are not finite.
    """
    vector = np.asarray(condition)
    if vector.shape != (size,) or not np.issubdtype(vector.dtype, np.number):
        raise QueryError(f"The condition has shape {vector.shape}: a vector of {size} numbers is needed.")
    if not np.isfinite(vector).all():
        raise QueryError("The condition holds NaN or infinity: give finite numbers.")
    return vector.astype(np.float32)


def check_batch(mixture: Any, condition: Any, size: int) -> None:
    """Checks the shapes of the raw model call, `[batch, samples]` and `[batch, size]`.

    Raises:
      WaveformError: a shape does not fit.
    """
    mixture_shape, condition_shape = jnp.shape(mixture), jnp.shape(condition)
    if len(mixture_shape) != 2 or condition_shape != (mixture_shape[0], size) or 0 in mixture_shape:
        raise WaveformError(
            f"apply was given a mixture of shape {mixture_shape} and a condition of shape "
            f"{condition_shape}: [batch, samples] and [batch, {size}] are needed."
        )
