"""Finds NaN and infinity in weights, which a failed training leaves behind."""

from collections.abc import Mapping

import ml_dtypes  # noqa: F401  makes NumPy's isfinite accept bfloat16
import numpy as np

# Elements that are tested at a time, so that a mapped file is not copied as a whole.
_BLOCK = 1 << 20


def problems(tensors: Mapping[str, np.ndarray]) -> list[str]:
    """Returns a phrase for every tensor that holds NaN or infinity."""
    return [f"{name} holds NaN or infinity" for name, tensor in tensors.items() if not _is_finite(tensor)]


def _is_finite(tensor: np.ndarray) -> bool:
    if tensor.dtype.kind in "iub":
        return True
    if not tensor.flags.c_contiguous:
        return bool(np.isfinite(tensor).all())
    flat = tensor.reshape(-1)
    return all(np.isfinite(flat[start : start + _BLOCK]).all() for start in range(0, flat.size, _BLOCK))
