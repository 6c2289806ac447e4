"""Gains of mixtures in NumPy: the gain at an SNR, and the scale that limits a peak."""

import numpy as np

PEAK = 0.9
"""Peak of a mixture that was scaled down."""


def gain_at_snr(energy: float, noise_energy: float, *, snr_db: float) -> float:
    """Returns the gain that puts noise `snr_db` below a signal: `sqrt(energy / noise_energy · 10^(-snr/10))`.

    The energies are mean squares, that of the noise above 0.

    Examples:
      >>> float(gain_at_snr(0.04, 0.01, snr_db=20.0))
      0.2
    """
    return np.sqrt(energy / noise_energy * 10 ** (-snr_db / 10))


def peak_scale(peak: float) -> float:
    """Returns the scale of a mixture: 0.9/peak where the peak exceeds 1, otherwise 1.

    Examples:
      >>> peak_scale(1.8), peak_scale(1.0)
      (0.5, 1.0)
    """
    return PEAK / peak if peak > 1 else 1.0
