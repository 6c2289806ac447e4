"""Estimates and a residual that sum to the mixture exactly, in floating point and in PCM steps."""

import numpy as np
from jaxtyping import Float32, Int64

from audiosep_jax.audio.pcm import quantise

# A float32 has 24 significant bits: sums and differences of steps of 2^-23 of the peak are exact up to twice
# the peak.
_STEPS_PER_PEAK = 2**23


def split(
    mixture: Float32[np.ndarray, "*shape"], estimate: Float32[np.ndarray, "*shape"], *, peak: float
) -> tuple[Float32[np.ndarray, "*shape"], Float32[np.ndarray, "*shape"]]:
    """Returns an estimate and the residual that completes it to the mixture.

    The estimate is rounded to steps of 2⁻²³ of full scale, the smallest power of two that is at least `peak`.
    If the mixture lies on these steps, as PCM of at most 24 bits does, estimate + residual is the mixture bit
    for bit. Otherwise the sum differs by at most half a step: two float32 numbers of the estimate's size
    cannot sum to every small number.

    Args:
      mixture: any shape.
      estimate: the same shape; it is clipped to full scale.
      peak: at least the largest magnitude of the mixture.

    Examples:
      >>> mixture, estimate = np.float32([0.5, -0.25]), np.float32([0.1, 0.1])
      >>> rounded, residual = split(mixture, estimate, peak=0.5)
      >>> rounded + residual == mixture
      array([ True,  True])
    """
    (rounded,), residual = split_stems(mixture, estimate[None], peak=peak)
    return rounded, residual


def split_stems(
    mixture: Float32[np.ndarray, "*shape"], estimates: Float32[np.ndarray, " stems *shape"], *, peak: float
) -> tuple[Float32[np.ndarray, " stems *shape"], Float32[np.ndarray, "*shape"]]:
    """Returns several estimates and the rest that completes them to the mixture, as `split` does for one.

    Summed in their order, the rest last, they are the mixture bit for bit if it lies on the steps of `split`:
    no partial sum of the estimates exceeds full scale, so that float32 holds each of them.

    Args:
      mixture: any shape.
      estimates: `[stems, …]`.
      peak: as in `split`.
    """
    if peak == 0:
        return np.zeros_like(estimates), mixture
    mantissa, exponent = np.frexp(np.float64(peak))
    full_scale = np.ldexp(1.0, exponent - (mantissa == 0.5))
    step = full_scale / _STEPS_PER_PEAK
    sums = np.cumsum(np.rint(estimates.astype(np.float64) / step), axis=0)
    sums = np.clip(sums, -_STEPS_PER_PEAK, _STEPS_PER_PEAK) * step
    parts = np.diff(sums, axis=0, prepend=np.zeros_like(sums[:1])).astype(np.float32)
    return parts, (mixture.astype(np.float64) - sums[-1]).astype(np.float32)


def split_steps(
    mixture: Int64[np.ndarray, "*shape"], estimate: Float32[np.ndarray, "*shape"], *, bits: int
) -> tuple[Int64[np.ndarray, "*shape"], Int64[np.ndarray, "*shape"]]:
    """Returns an estimate and the residual that completes it to the mixture, as PCM steps.

    Both fit into `bits` bits. A residual that would not (of a full-scale mixture and an estimate of the
    opposite sign) is clipped, and the estimate is what remains.

    Args:
      mixture: PCM steps of `bits` bits.
      estimate: in ±1, the same shape.
      bits: of the encoding.
    """
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    residual = np.clip(mixture - quantise(estimate, bits), low, high)
    return mixture - residual, residual


def split_stems_steps(
    mixture: Int64[np.ndarray, "*shape"], estimates: Float32[np.ndarray, " stems *shape"], *, bits: int
) -> tuple[Int64[np.ndarray, " stems *shape"], Int64[np.ndarray, "*shape"]]:
    """Returns several estimates and the rest that completes them to the mixture, as PCM steps of `bits` bits.

    Each estimate is split from the rest of those before it, as by `split_steps`.

    Args:
      mixture: PCM steps of `bits` bits.
      estimates: `[stems, …]` in ±1.
      bits: of the encoding.
    """
    parts, rest = [], mixture
    for estimate in estimates:
        part, rest = split_steps(rest, estimate, bits=bits)
        parts.append(part)
    return np.stack(parts), rest
