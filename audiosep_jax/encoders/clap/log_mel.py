"""The front end of CLAP's audio tower: waveforms to mel spectrograms in dB."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from audiosep_jax.audio.stft import stft
from audiosep_jax.errors import EncoderError

# Slaney's mel scale (Auditory Toolbox, 1998): linear below 1 kHz, logarithmic above.
_HZ_PER_MEL = 200 / 3
_KNEE_HZ = 1000.0
_KNEE_MEL = _KNEE_HZ / _HZ_PER_MEL
_LOG_STEP = np.log(6.4) / 27


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogMelConfig:
    """How CLAP sees audio; the defaults are those of LAION's models and of transformers' without fusion."""

    sample_rate_hz: int = 48_000
    window_length: int = 1024
    hop_length: int = 480
    mel_bins: int = 64
    frequency_min_hz: float = 50.0
    frequency_max_hz: float = 14_000.0

    def __post_init__(self) -> None:
        if min(self.sample_rate_hz, self.mel_bins) <= 0 or not 0 < self.hop_length <= self.window_length:
            raise EncoderError(
                f"sample_rate_hz {self.sample_rate_hz} and mel_bins {self.mel_bins} must be positive, and "
                f"hop_length {self.hop_length} within 1…window_length ({self.window_length})."
            )
        if self.window_length % 2:
            raise EncoderError(f"window_length is {self.window_length}: an even number is needed.")
        if not 0 <= self.frequency_min_hz < self.frequency_max_hz <= self.sample_rate_hz / 2:
            raise EncoderError(
                f"frequency_min_hz {self.frequency_min_hz:g} and frequency_max_hz {self.frequency_max_hz:g} "
                f"must be in order and within 0…{self.sample_rate_hz / 2:g}, half the sample rate."
            )


def mel_matrix(config: LogMelConfig) -> Float[np.ndarray, "bins mels"]:
    """Returns triangular filters, equally wide on Slaney's mel scale, each of unit area.

    The numbers of `librosa.filters.mel(norm="slaney", htk=False)`, transposed, which both references use.
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

    Args:
      waveform: float32 at `config.sample_rate_hz`, more than half a window long.
      config: how to see it.
      matrix: the mel filters, from `mel_matrix` or from a checkpoint.

    Returns:
      `samples // hop_length + 1` frames, the first centred on the first sample.
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
