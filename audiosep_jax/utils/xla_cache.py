"""A cache of compiled programs on disk, so that only the first run of a command waits for XLA."""

import hashlib
import importlib.util
import os
import platform
from pathlib import Path

from audiosep_jax.errors import MissingPackageError, shown


def use_cache() -> None:
    """Points JAX to a cache on disk; must be called before JAX is imported.

    `JAX_COMPILATION_CACHE_DIR` names another place, such as gs://BUCKET/FOLDER for all hosts of a pod; an
    empty value disables the cache. The folder's name contains a hash of the processor, because machines with
    different processors may share a home directory.

    Raises:
      MissingPackageError: the cache is in a bucket, and gcsfs is not installed. JAX would only warn, and
        compile everything at every start.
    """
    place = os.environ.get("JAX_COMPILATION_CACHE_DIR", "")
    if place.startswith("gs://") and importlib.util.find_spec("gcsfs") is None:
        raise MissingPackageError(
            f"JAX_COMPILATION_CACHE_DIR is {shown(place)}, which needs the package gcsfs: pip install gcsfs."
        )
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
