"""Compilation for the processor that the program runs on."""

import contextlib
import ctypes
import functools
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

# By default XLA computes matrix products with YNNPACK. On a processor without AVX-512, Eigen's own are up to
# twice as fast for the products of Winograd's convolution (docs/speed.md); JAX's Eigen has no AVX-512.
_EIGEN = {"xla_cpu_experimental_ynn_fusion_type": ""}


def jit(function: Callable[..., Any]) -> Any:
    """Compiles as `jax.jit`, with this processor's fastest matrix products; not inside another `jit`."""
    return jax.jit(function, compiler_options=_options())


def return_memory() -> None:
    """Returns freed memory to the system: hundreds of megabytes after compilation, which glibc would keep."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


@functools.cache
def _options() -> dict[str, Any] | None:
    if jax.default_backend() != "cpu" or platform.machine() != "x86_64" or _has_avx512():
        return None
    try:
        jax.jit(lambda: 0, compiler_options=_EIGEN).lower().compile()
    except Exception:  # each version of JAX without the option raises another kind
        return None
    return _EIGEN


def _has_avx512() -> bool:
    try:
        return "avx512f" in Path("/proc/cpuinfo").read_text("utf-8", errors="replace")
    except OSError:  # not Linux: unknown
        return True
