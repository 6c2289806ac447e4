"""How programs are compiled for the processor that they run on."""

import contextlib
import ctypes
import functools
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

# Without it XLA hands matrix products to YNNPACK. On a processor without AVX-512, Eigen's own are up to twice
# as fast for the products of Winograd's convolution (docs/speed.md); JAX's Eigen has no AVX-512.
_EIGEN = {"xla_cpu_experimental_ynn_fusion_type": ""}


def jit(function: Callable[..., Any]) -> Any:
    """Compiles as `jax.jit` does, for this processor's fastest matrix products; not within another `jit`."""
    return jax.jit(function, compiler_options=_options())


def return_memory() -> None:
    """Gives back what was freed, hundreds of megabytes after XLA has compiled; glibc would keep it."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


@functools.cache
def _options() -> dict[str, Any] | None:
    if jax.default_backend() != "cpu" or platform.machine() != "x86_64" or _has_avx512():
        return None
    try:
        jax.jit(lambda: 0, compiler_options=_EIGEN).lower().compile()
    except Exception:  # a version of JAX that does not know the option says so in a way of its own
        return None
    return _EIGEN


def _has_avx512() -> bool:
    try:
        return "avx512f" in Path("/proc/cpuinfo").read_text("utf-8", errors="replace")
    except OSError:  # not Linux: nothing is known of it
        return True
