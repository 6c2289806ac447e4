"""Imports optional metric packages when they are needed."""

import importlib
import sys
from types import ModuleType
from typing import Literal

from audiosep_jax.errors import MissingPackageError

# Module -> what it measures, for the error.
_PURPOSE = {
    "pesq": "measures PESQ",
    "pystoi": "measures STOI",
    "fast_bss_eval": "measures SDR, SIR and SAR by BSSEval",
}


def metric_package(name: Literal["pesq", "pystoi", "fast_bss_eval"]) -> ModuleType:
    """Imports a package of the extra `benchmark`.

    Raises:
      MissingPackageError: it is not installed.
    """
    # fast_bss_eval imports PyTorch where it is installed, which NumPy arrays do not need.
    hidden = name == "fast_bss_eval" and name not in sys.modules and "torch" not in sys.modules
    if hidden:
        sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingPackageError(
            f"The package {name.replace('_', '-')}, which {_PURPOSE[name]}, is not installed: "
            "pip install 'audiosep_jax[benchmark]'."
        ) from error
    finally:
        if hidden:
            del sys.modules["torch"]
