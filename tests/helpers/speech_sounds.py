"""A sound that PESQ and STOI take for speech: pulses through three resonances, in syllables."""

import numpy as np

RATE = 16_000


def speech(*, seconds=2.0, floor=1e-4):
    t = np.arange(round(seconds * RATE)) / RATE
    spectrum = np.fft.rfft((np.modf(t * 120)[0] < 0.0075).astype(float))
    hz = np.fft.rfftfreq(len(t), 1 / RATE)
    gain = sum(
        1 / ((hz / 1000 - centre) ** 2 + width**2) for centre, width in ((0.5, 0.1), (1.5, 0.15), (2.5, 0.2))
    )
    voiced = np.fft.irfft(spectrum * gain, len(t)) * np.clip(np.sin(2 * np.pi * 3 * t), 0, 1)
    # A floor of noise, as every recording has: digital silence has no spectrum.
    return 0.3 * voiced / np.abs(voiced).max() + floor * noise(len(t), seed=99)


def noise(samples, *, seed=0):
    return np.random.default_rng(seed).standard_normal(samples)


def noisy(clean, snr_db, *, seed=0):
    added = noise(len(clean), seed=seed)
    return clean + added * np.sqrt(np.mean(clean**2) / np.mean(added**2) * 10 ** (-snr_db / 10))
