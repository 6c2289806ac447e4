"""SDR, SDRi, SI-SDR and attenuation, in dB, as the AudioSep reference computes them.

Every function takes waveforms `[..., samples]` and returns one value per waveform. NumPy arrays are
measured in float64 on the host, JAX arrays in their own precision, under `jit` or not. With `lengths`, the
samples from `lengths` on are padding and do not change the result.

Source: `evaluation/` and `utils.py` of github.com/Audio-AGI/AudioSep.
"""

from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

Waveforms = Float[np.ndarray | jax.Array, "*batch samples"]
Values = Float[np.ndarray | jax.Array, "*batch"]
Lengths = Int[np.ndarray | jax.Array, "*batch"]

MEAN_SQUARE_FLOOR = 1e-10
# The machine epsilon of the reference's float32 waveforms, also for sums in float64.
SI_SDR_EPSILON = float(np.finfo(np.float32).eps)


def sdr_db(target: Waveforms, estimate: Waveforms, *, lengths: Lengths | None = None) -> Values:
    """Signal-to-distortion ratio: `10 log10(mean(target²) / mean((estimate - target)²))`.

    Both means are floored at 1e-10, so a perfect estimate of a target of power p reaches
    `10 log10(p) + 100` dB.

    Args:
      target: `[..., samples]`.
      estimate: same shape.
      lengths: `[...]` samples that count, or None for all.

    Returns:
      `[...]` in dB.

    Raises:
      ValueError: the shapes differ.
    """
    xp, (target, estimate), count = _prepare(target, estimate, lengths=lengths)
    return _decibel_ratio(
        xp, _mean_square(xp, target, count), _mean_square(xp, estimate - target, count), MEAN_SQUARE_FLOOR
    )


def sdri_db(
    target: Waveforms, estimate: Waveforms, mixture: Waveforms, *, lengths: Lengths | None = None
) -> Values:
    """SDR improvement: `sdr(estimate) - sdr(mixture)`, in dB; shapes as in `sdr_db`."""
    improvement = sdr_db(target, estimate, lengths=lengths) - sdr_db(target, mixture, lengths=lengths)
    return improvement if isinstance(improvement, jax.Array) else np.asarray(improvement)


def si_sdr_db(target: Waveforms, estimate: Waveforms, *, lengths: Lengths | None = None) -> Values:
    """Scale-invariant SDR with one scalar projection (Le Roux et al. 2019, arXiv 1811.02508).

    With `a = (ε + <target, estimate>) / (ε + <target, target>)`, the value is
    `10 log10((ε + |a·target|²) / (ε + |estimate - a·target|²))`, where ε is float32's machine epsilon. The
    mean is not removed, as in the reference.

    Args:
      target: `[..., samples]`.
      estimate: same shape.
      lengths: `[...]` samples that count, or None for all.

    Returns:
      `[...]` in dB.

    Raises:
      ValueError: the shapes differ.
    """
    xp, (target, estimate), _ = _prepare(target, estimate, lengths=lengths)
    correlation = _sum(xp, target * estimate) + SI_SDR_EPSILON
    projection = (correlation / (_sum(xp, target * target) + SI_SDR_EPSILON))[..., None] * target
    distortion = estimate - projection
    signal = _sum(xp, projection * projection) + SI_SDR_EPSILON
    noise = _sum(xp, distortion * distortion) + SI_SDR_EPSILON
    return xp.asarray(10 * xp.log10(signal / noise))


def separation_metrics(
    target: Float[np.ndarray, "*batch samples"],
    estimate: Float[np.ndarray, "*batch samples"],
    mixture: Float[np.ndarray, "*batch samples"],
) -> dict[str, Float[np.ndarray, "*batch"]]:
    """Returns SDR, SI-SDR and their gains over the mixture in dB, by the names `sdr_db`, `sdri_db`, ….

    Args:
      target: `[..., samples]`.
      estimate: same shape.
      mixture: same shape.

    Raises:
      ValueError: the shapes differ.
    """
    sdr, si_sdr = sdr_db(target, estimate), si_sdr_db(target, estimate)
    values = {
        "sdr_db": sdr,
        "sdri_db": sdr - sdr_db(target, mixture),
        "si_sdr_db": si_sdr,
        "si_sdri_db": si_sdr - si_sdr_db(target, mixture),
    }
    return {name: np.asarray(value) for name, value in values.items()}


def energy_ratio_db(estimate: Waveforms, mixture: Waveforms, *, lengths: Lengths | None = None) -> Values:
    """Energy of the estimate relative to the mixture: `10 log10(mean(estimate²) / mean(mixture²))`.

    It grades queries that name no sound of the mixture: their target is silence, for which SDR is undefined.
    Lower is better. Both means are floored at 1e-10.

    Args:
      estimate: `[..., samples]`.
      mixture: same shape.
      lengths: `[...]` samples that count, or None for all.

    Returns:
      `[...]` in dB, negative where the estimate lies below the mixture.

    Raises:
      ValueError: the shapes differ.
    """
    xp, (estimate, mixture), count = _prepare(estimate, mixture, lengths=lengths)
    return _decibel_ratio(
        xp, _mean_square(xp, estimate, count), _mean_square(xp, mixture, count), MEAN_SQUARE_FLOOR
    )


def _prepare(first, second, *, lengths) -> tuple[ModuleType, tuple, np.ndarray | jax.Array]:
    """Returns the namespace, the pair with padding set to zero, and the number of samples that count."""
    if first.shape != second.shape:
        raise ValueError(f"waveforms must have one shape: got {first.shape} and {second.shape}.")
    on_device = any(isinstance(array, jax.Array) for array in (first, second, lengths))
    xp = jnp if on_device else np
    if on_device:
        pair = tuple(jnp.asarray(array) for array in (first, second))
    else:
        pair = tuple(np.asarray(array, np.float64) for array in (first, second))
    samples = first.shape[-1]
    if lengths is None:
        return xp, pair, xp.full(first.shape[:-1], samples, pair[0].dtype)
    # `where`, not a product: a NaN in the padding must not reach a sum.
    positions = xp.arange(samples).reshape((1,) * (first.ndim - 1) + (samples,))
    inside = positions < xp.asarray(lengths)[..., None]
    pair = tuple(xp.where(inside, array, xp.zeros_like(array)) for array in pair)
    return xp, pair, xp.maximum(xp.asarray(lengths), 1).astype(pair[0].dtype)


def _sum(xp: ModuleType, values):
    if xp is np:
        return values.sum(-1)
    # Two stages of about sqrt(samples) terms: one long float32 sum loses decimals of a dB.
    samples = values.shape[-1]
    width = max(1, int(np.ceil(np.sqrt(samples))))
    rows = -(-samples // width)
    padding = [(0, 0)] * (values.ndim - 1) + [(0, rows * width - samples)]
    folded = jnp.pad(values, padding).reshape((*values.shape[:-1], rows, width))
    return folded.sum(-1).sum(-1)


def _mean_square(xp: ModuleType, values, count):
    return _sum(xp, values * values) / count


def _decibel_ratio(xp: ModuleType, numerator, denominator, floor: float):
    return xp.asarray(10 * xp.log10(xp.maximum(numerator, floor) / xp.maximum(denominator, floor)))
