"""Compiled programs are kept between processes, so that only the first run of a command waits for XLA."""

import hashlib
import os
import platform
from pathlib import Path


def use_cache() -> None:
    """Points JAX to a cache on disk; call it before JAX is imported.

    `JAX_COMPILATION_CACHE_DIR` names another place; an empty value switches the cache off. The folder's
    name carries the processor, because a program compiled for one may not run on another that shares the
    home directory.
    """
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(root / "audiosep_jax" / f"xla-{_processor()}"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")


def _processor() -> str:
    description = platform.machine() + platform.processor()
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", errors="replace").splitlines()
        description += "".join(line for line in lines if line.startswith(("model name", "flags")))
    except OSError:
        pass
    return hashlib.sha256(description.encode()).hexdigest()[:12]
