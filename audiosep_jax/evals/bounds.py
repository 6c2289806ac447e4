"""Floors and ceilings of an evaluation set: what needs no query, and what an ideal mask reaches."""

import dataclasses
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from audiosep_jax.audio.resample import resample
from audiosep_jax.audio.stft import istft, stft
from audiosep_jax.evals.evaluate import EvaluationResult, resampled_apply, summarise
from audiosep_jax.evals.evaluation_set import EvaluationSet, check_files, render_entries
from audiosep_jax.evals.measure import Apply, Measurements, Progress, measure_batch, merge
from audiosep_jax.evals.metrics import MEAN_SQUARE_FLOOR

NUMBER_OF_BOUNDS = 4

LOWEST_CUTOFF_HZ = 50.0
CUTOFFS_PER_OCTAVE = 6

_SMALLEST_POWER = 1e-20


def measure_bounds(
    evaluation_set: EvaluationSet,
    *,
    root: str | Path,
    model_sample_rate_hz: int,
    window_length: int,
    hop_length: int,
    batch_size: int = 8,
    progress: Progress | None = None,
) -> tuple[EvaluationResult, ...]:
    """Measures four estimates that no model makes, each as `evaluate` measures a model's.

    Floors, which know neither query nor target:
    - "low-pass": the mixture below a fixed cutoff, that of the highest mean SDR over the set, without phase
      shift. It is chosen on the measured mixtures themselves, so the floor is rather too high.
    - "half": the mixture times 0.5.

    Ceilings, which know the target. They mask the mixture's STFT at the model's rate, window and hop, and
    are resampled as the model's estimates are:
    - "ratio mask": `|T| / (|T| + |N|)`.
    - "phase-sensitive mask": `clip(Re(T conj(M)) / |M|², 0, 1)`, the best real mask between 0 and 1 for each
      bin (Erdogan et al., "Phase-sensitive and recognition-boosted speech separation using deep recurrent
      neural networks", ICASSP 2015).

    `T`, `N` and `M` are the spectra of target, interferer and mixture. The ceilings say nothing about absent
    queries, whose target is silence: their results have no `absent` rows.

    Args:
      evaluation_set: the mixtures.
      root: folder of their files.
      model_sample_rate_hz: rate of the model.
      window_length: of its STFT, in samples.
      hop_length: of its STFT, in samples.
      batch_size: mixtures in memory at a time.
      progress: called with (mixtures done, mixtures in all), twice over the set.

    Returns:
      A result for each of the four, in this order; its `model` is the name above, for the low-pass filter
      with the cutoff.

    Raises:
      EvaluationError: files are missing, or do not fit the set.
      AudioFileError: a file cannot be read.
    """
    check_files(evaluation_set, root)
    total = 2 * len(evaluation_set.entries)
    cutoff_hz = _best_cutoff(evaluation_set, root=root, batch_size=batch_size, progress=progress)

    rate = evaluation_set.sample_rate_hz
    ideal = functools.partial(ideal_estimate, window_length=window_length, hop_length=hop_length)

    def masked(mask: str) -> Apply:
        def apply(mixture: np.ndarray, target: np.ndarray) -> jax.Array:
            return ideal(mixture, resample(target, from_hz=rate, to_hz=model_sample_rate_hz), mask=mask)

        return resampled_apply(apply, set_rate_hz=rate, model_rate_hz=model_sample_rate_hz)

    applies: dict[str, Apply] = {
        f"low-pass {_kilohertz(cutoff_hz)}": lambda mixture, _: low_passed(
            mixture, cutoff_hz=cutoff_hz, sample_rate_hz=rate
        ),
        "half": lambda mixture, _: 0.5 * mixture,
        "ratio mask": masked("ratio"),
        "phase-sensitive mask": masked("phase-sensitive"),
    }
    parts: dict[str, list[Measurements]] = {name: [] for name in applies}
    for start in range(0, len(evaluation_set.entries), batch_size):
        some = evaluation_set.entries[start : start + batch_size]
        mixture, target = render_entries(evaluation_set, some, root=root)
        absent = np.array([entry.is_absent for entry in some])
        for name, apply in applies.items():
            parts[name].append(
                # What a model learns from the query, a bound learns from the target.
                measure_batch(
                    apply,
                    mixture=mixture,
                    target=target,
                    condition=target,
                    absent=absent,
                    batch_size=batch_size,
                    first=start,
                )
            )
        if progress:
            progress(total // 2 + start + len(some), total)
    results = [
        summarise(evaluation_set, merge(measured), model=name, model_sample_rate_hz=model_sample_rate_hz)
        for name, measured in parts.items()
    ]
    return (
        *(dataclasses.replace(one, model_sample_rate_hz=rate) for one in results[:2]),
        *(dataclasses.replace(one, absent=(), absent_attenuation_db=None) for one in results[2:]),
    )


@functools.partial(jax.jit, static_argnames=("mask", "window_length", "hop_length"))
def ideal_estimate(
    mixture: Float[Array, "batch samples"],
    target: Float[Array, "batch samples"],
    *,
    mask: str,
    window_length: int,
    hop_length: int,
) -> Float[Array, "batch samples"]:
    """Masks a mixture with the "ratio" or the "phase-sensitive" mask of its target; see `measure_bounds`.

    Args:
      mixture: `[batch, samples]`.
      target: the same shape.
      mask: which of the two.
      window_length: of the STFT, in samples.
      hop_length: of the STFT, in samples.
    """
    transform = functools.partial(stft, window_length=window_length, hop_length=hop_length)
    (real, imag), (target_real, target_imag) = transform(mixture), transform(target)
    if mask == "ratio":
        own = jnp.hypot(target_real, target_imag)
        other = jnp.hypot(real - target_real, imag - target_imag)
        gain = own / jnp.maximum(own + other, _SMALLEST_POWER)
    else:
        power = jnp.maximum(real**2 + imag**2, _SMALLEST_POWER)
        gain = jnp.clip((target_real * real + target_imag * imag) / power, 0, 1)
    return istft(
        gain * real,
        gain * imag,
        window_length=window_length,
        hop_length=hop_length,
        samples=mixture.shape[-1],
    )


def low_passed(
    waveform: Float[np.ndarray, "batch samples"], *, cutoff_hz: float, sample_rate_hz: int
) -> Float[np.ndarray, "batch samples"]:
    """Removes all frequencies above the cutoff, without phase shift."""
    samples = waveform.shape[-1]
    spectrum = np.fft.rfft(waveform)
    spectrum[..., np.fft.rfftfreq(samples, 1 / sample_rate_hz) > cutoff_hz] = 0
    return np.fft.irfft(spectrum, samples).astype(waveform.dtype)


def _best_cutoff(
    evaluation_set: EvaluationSet, *, root: str | Path, batch_size: int, progress: Progress | None
) -> float:
    """Returns the cutoff of the highest mean SDR over the mixtures whose query names the target."""
    nyquist = evaluation_set.sample_rate_hz / 2
    octaves = np.log2(nyquist / LOWEST_CUTOFF_HZ)
    cutoffs = LOWEST_CUTOFF_HZ * 2 ** (np.arange(int(octaves * CUTOFFS_PER_OCTAVE) + 1) / CUTOFFS_PER_OCTAVE)
    sums = np.zeros(len(cutoffs))
    done, total = 0, len(evaluation_set.entries)
    for start in range(0, total, batch_size):
        some = evaluation_set.entries[start : start + batch_size]
        present = [entry for entry in some if not entry.is_absent]
        if present:
            mixture, target = render_entries(evaluation_set, present, root=root)
            sums += _low_pass_sdrs(mixture, target, cutoffs, evaluation_set.sample_rate_hz).sum(0)
        done += len(some)
        if progress:
            progress(done, 2 * total)
    return float(cutoffs[int(sums.argmax())])


def _low_pass_sdrs(
    mixture: Float[np.ndarray, "batch samples"],
    target: Float[np.ndarray, "batch samples"],
    cutoffs_hz: Float[np.ndarray, " cutoffs"],
    sample_rate_hz: int,
) -> Float[np.ndarray, "batch cutoffs"]:
    """Returns the SDR in dB of the low-passed mixtures for each cutoff, from the spectra (Parseval)."""
    samples = mixture.shape[-1]
    frequencies = np.fft.rfftfreq(samples, 1 / sample_rate_hz)
    # A real signal's spectrum has every frequency twice, except 0 and, of an even length, the highest.
    times = np.where((frequencies == 0) | (2 * frequencies == sample_rate_hz), 1.0, 2.0) / samples**2
    own = times * np.abs(np.fft.rfft(target.astype(np.float64))) ** 2
    other = times * np.abs(np.fft.rfft(mixture.astype(np.float64) - target)) ** 2
    passed = np.searchsorted(frequencies, cutoffs_hz, side="right") - 1
    # The error is the interferer below the cutoff, and the target above it.
    power = own.sum(-1, keepdims=True)
    error = np.cumsum(other, -1)[:, passed] + power - np.cumsum(own, -1)[:, passed]
    return 10 * np.log10(np.maximum(power, MEAN_SQUARE_FLOOR) / np.maximum(error, MEAN_SQUARE_FLOOR))


def _kilohertz(frequency_hz: float) -> str:
    return f"{frequency_hz / 1000:.2g} kHz"
