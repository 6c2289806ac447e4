"""Short-time Fourier transform and its inverse: real arrays in and out, differentiable, sharding-safe."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Int

# If the sum of squared windows is smaller than this, no frame covers the sample.
_SMALLEST_WINDOW_SUM = 1e-11


def stft(
    waveform: Float[Array, "batch samples"], *, window_length: int, hop_length: int
) -> tuple[Float[Array, "batch frames bins"], Float[Array, "batch frames bins"]]:
    """Transforms waveforms with a periodic Hann window, centred frames and reflect padding.

    The same transform as `torch.stft(center=True, pad_mode="reflect")` and torchlibrosa's `STFT`.

    Args:
      waveform: `[batch, samples]`, more than `window_length // 2` samples.
      window_length: window and FFT length in samples, even.
      hop_length: distance of neighbouring frames in samples.

    Returns:
      Real and imaginary part, each `[batch, samples // hop_length + 1, window_length // 2 + 1]`.

    Raises:
      ValueError: the waveform is too short for reflect padding, or has another rank.
    """
    _check_window(window_length, hop_length)
    if waveform.ndim != 2:
        raise ValueError(f"waveform has shape {waveform.shape}; expected [batch, samples]")
    half = window_length // 2
    samples = waveform.shape[-1]
    if samples <= half:
        raise ValueError(
            f"waveform has {samples} samples; a window of {window_length} needs more than {half} to reflect"
        )
    transform = functools.partial(
        _stft, window_length=window_length, hop_length=hop_length, frames=samples // hop_length + 1
    )
    return _per_device(transform, waveform)(waveform)


def istft(
    real: Float[Array, "batch frames bins"],
    imag: Float[Array, "batch frames bins"],
    *,
    window_length: int,
    hop_length: int,
    samples: int,
    frames: Int[Array, " batch"] | None = None,
) -> Float[Array, "batch samples"]:
    """Inverts `stft` by windowed overlap-add, divided by the sum of squared windows (Griffin & Lim 1984).

    Args:
      real: `[batch, frames, window_length // 2 + 1]`.
      imag: the same shape.
      window_length: as given to `stft`.
      hop_length: as given to `stft`.
      samples: length of the waveform to return; samples that no frame covers are zero.
      frames: `[batch]`, how many frames of each row count; None for all. The others must be zero.

    Returns:
      `[batch, samples]`.

    Raises:
      ValueError: the two parts differ in shape or do not have `window_length // 2 + 1` bins.
    """
    _check_window(window_length, hop_length)
    if real.shape != imag.shape or real.ndim != 3 or real.shape[-1] != window_length // 2 + 1:
        raise ValueError(
            f"real {real.shape} and imag {imag.shape} must both be [batch, frames, {window_length // 2 + 1}]"
        )
    transform = functools.partial(_istft, window_length=window_length, hop_length=hop_length, samples=samples)
    return _per_device(transform, real)(real, imag, *([] if frames is None else [frames]))


def _check_window(window_length: int, hop_length: int) -> None:
    if window_length % 2 or window_length < 2 or not 0 < hop_length <= window_length:
        raise ValueError(
            f"window_length {window_length} must be even and hop_length {hop_length} within 1…{window_length}"
        )


def _stft(waveform: Array, *, window_length: int, hop_length: int, frames: int) -> tuple[Array, Array]:
    half = window_length // 2
    padded = jnp.pad(waveform, ((0, 0), (half, half)), mode="reflect")
    # Frames are built from shifted blocks of one hop: plain slices, where a gather would turn into a
    # slow scatter in the backward pass. Brackets would be gathers where the batch is symbolic.
    take = jax.lax.slice_in_dim
    per_frame = -(-window_length // hop_length)
    blocks = frames + per_frame - 1
    padded = jnp.pad(padded, ((0, 0), (0, max(0, blocks * hop_length - padded.shape[-1]))))
    block = take(padded, 0, blocks * hop_length, axis=1).reshape(-1, blocks, hop_length)
    framed = jnp.concatenate([take(block, i, i + frames, axis=1) for i in range(per_frame)], axis=-1)
    window = _hann(window_length)[None, None].astype(waveform.dtype)
    spectrum = jnp.fft.rfft(take(framed, 0, window_length, axis=2) * window)
    return spectrum.real, spectrum.imag


def _istft(
    real: Array,
    imag: Array,
    counted: Array | None = None,
    *,
    window_length: int,
    hop_length: int,
    samples: int,
) -> Array:
    frames = real.shape[1]
    window = _hann(window_length)[None, None]
    framed = jnp.fft.irfft(jax.lax.complex(real, imag), n=window_length) * window.astype(real.dtype)
    half = window_length // 2
    waveform = _overlap_add(framed, hop_length)
    squared = np.broadcast_to(window**2, (1, frames, window_length))
    if counted is None:
        total = _overlap_add(squared, hop_length)
    else:
        inside = (jnp.arange(frames)[None] < counted[:, None]).astype(real.dtype)
        total = _overlap_add(inside[:, :, None] * squared.astype(real.dtype), hop_length)
    waveform = waveform / jnp.maximum(total, _SMALLEST_WINDOW_SUM).astype(real.dtype)
    waveform = jax.lax.slice_in_dim(waveform, half, min(half + samples, waveform.shape[1]), axis=1)
    return jnp.pad(waveform, ((0, 0), (0, samples - waveform.shape[-1])))


def _overlap_add(framed: Array | np.ndarray, hop_length: int) -> Array:
    """Adds `[batch, frames, window]` frames, `hop_length` apart, into `[batch, samples]`."""
    batch, frames, window_length = framed.shape
    per_frame = -(-window_length // hop_length)
    framed = jnp.pad(framed, ((0, 0), (0, 0), (0, per_frame * hop_length - window_length)))
    parts = framed.reshape(batch, frames, per_frame, hop_length)
    blocks = sum(
        jnp.pad(
            jax.lax.index_in_dim(parts, i, axis=2, keepdims=False), ((0, 0), (i, per_frame - 1 - i), (0, 0))
        )
        for i in range(per_frame)
    )
    return jnp.reshape(blocks, (batch, -1))


@functools.lru_cache
def _hann(window_length: int) -> np.ndarray:
    """The periodic Hann window in float64, `[window_length]`."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window_length) / window_length)


def _per_device(transform: Callable, examples: Array) -> Callable:
    """Keeps an FFT on the device that holds its examples.

    XLA's partitioner gathers the operand of an FFT on every device (jax issues 13081 and 15680), so
    under a mesh (`jax.set_mesh`) the transform runs in a `shard_map` over all its axes, the batch
    split between them.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1 or examples.shape[0] % mesh.size:
        return transform
    if any(kind == jax.sharding.AxisType.Manual for kind in mesh.axis_types):
        return transform  # already inside a shard_map
    spec = PartitionSpec(mesh.axis_names)
    return jax.shard_map(transform, in_specs=spec, out_specs=spec)
