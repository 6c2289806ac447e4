"""Estimates and residual that add up to the mixture exactly, in floating point and in PCM steps."""

import numpy as np
from jaxtyping import Float32, Int64

from audiosep_jax.audio.containers import quantise

# A float32 has 24 significant bits: sums and differences of steps of 2^-23 of the peak are exact up to twice
# the peak.
_STEPS_PER_PEAK = 2**23


def split(
    mixture: Float32[np.ndarray, "*shape"], estimate: Float32[np.ndarray, "*shape"], *, peak: float
) -> tuple[Float32[np.ndarray, "*shape"], Float32[np.ndarray, "*shape"]]:
    """Returns an estimate and the residual that completes it to the mixture.

    The estimate is rounded to steps of 2⁻²³ of the next power of two from `peak` on. Where the mixture lies
    on these steps, as everything does that was decoded from PCM of at most 24 bits, estimate + residual is
    the mixture bit for bit. Elsewhere the sum differs by at most half a step: no two float32 numbers of the
    estimate's size add up to every small one.

    Args:
      mixture: any shape.
      estimate: the same shape.
      peak: at least the largest magnitude of the mixture; the estimate is clipped to the next power of two.
    """
    (rounded,), residual = split_stems(mixture, estimate[None], peak=peak)
    return rounded, residual


def split_stems(
    mixture: Float32[np.ndarray, "*shape"], estimates: Float32[np.ndarray, " stems *shape"], *, peak: float
) -> tuple[Float32[np.ndarray, " stems *shape"], Float32[np.ndarray, "*shape"]]:
    """Returns several estimates and the rest that completes them to the mixture, as `split` does for one.

    Summed in their order, the rest last, they are the mixture bit for bit where it lies on the steps of
    `split`: no partial sum of the estimates leaves the full scale, so that float32 holds each of them.

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

    Both fit into `bits`. Where the residual would not (a full-scale mixture and an estimate of the other
    sign), it takes the extreme value and the estimate gives way.

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

    Each is taken from what those before it have left, as `split_steps` takes one.

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
