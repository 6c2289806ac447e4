"""The input of CLAP's audio tower: mel spectrograms in dB."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from audiosep_jax.audio.stft import stft
from audiosep_jax.encoders.clap.config import LogMelConfig

# Slaney's mel scale (Auditory Toolbox, 1998): linear below 1 kHz, logarithmic above.
_HZ_PER_MEL = 200 / 3
_KNEE_HZ = 1000.0
_KNEE_MEL = _KNEE_HZ / _HZ_PER_MEL
_LOG_STEP = np.log(6.4) / 27


def mel_matrix(config: LogMelConfig) -> Float[np.ndarray, "bins mels"]:
    """Returns triangular filters, equally wide on Slaney's mel scale, each of unit area.

    Equal to `librosa.filters.mel(norm="slaney", htk=False)`, transposed, which both references use.
    """
    edges_hz = _mel_to_hz(
        np.linspace(
            _hz_to_mel(config.frequency_min_hz), _hz_to_mel(config.frequency_max_hz), config.mel_bins + 2
        )
    )
    bins_hz = np.linspace(0, config.sample_rate_hz / 2, config.window_length // 2 + 1)[:, None]
    low, centre, high = edges_hz[None, :-2], edges_hz[None, 1:-1], edges_hz[None, 2:]
    triangles = np.minimum((bins_hz - low) / (centre - low), (high - bins_hz) / (high - centre))
    return (np.maximum(triangles, 0) * 2 / (high - low)).astype(np.float32)


def log_mel(
    waveform: Float[Array, "batch samples"],
    *,
    config: LogMelConfig,
    matrix: Float[Array, "bins mels"] | Float[np.ndarray, "bins mels"],
) -> Float[Array, "batch frames mels"]:
    """Returns mel spectrograms in dB of power, at least -100. Pure and jit-able.

    The waveform, float32 at `config.sample_rate_hz`, is longer than half a window; `matrix` are the mel
    filters, from `mel_matrix` or from a checkpoint. There are `samples // hop_length + 1` frames, the first
    centred on the first sample.
    """
    real, imag = stft(waveform, window_length=config.window_length, hop_length=config.hop_length)
    power = jnp.matmul(real**2 + imag**2, matrix, precision=jax.lax.Precision.HIGHEST)
    return 10 * jnp.log10(jnp.maximum(power, 1e-10))


def _hz_to_mel(hz: float) -> float:
    if hz < _KNEE_HZ:
        return hz / _HZ_PER_MEL
    return _KNEE_MEL + np.log(hz / _KNEE_HZ) / _LOG_STEP


def _mel_to_hz(mel: np.ndarray) -> np.ndarray:
    above = _KNEE_HZ * np.exp(_LOG_STEP * (mel - _KNEE_MEL))
    return np.where(mel < _KNEE_MEL, mel * _HZ_PER_MEL, above)
