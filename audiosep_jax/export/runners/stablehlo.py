"""Runs this export with JAX and NumPy alone.

  python run.py INPUTS.npz OUTPUTS.npz

INPUTS.npz holds `waveform` [batch, window samples], or `magnitude` [batch, frames, bins] for the function
"core", and `condition` [batch, size]; all float32. OUTPUTS.npz gets `estimate` or `mask`. manifest.json
states the shapes and the sample rate. From Python: `load("whole")(waveform, condition)`.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import jax.export
import numpy as np

FOLDER = Path(__file__).parent


def load(function: str, folder: Path = FOLDER) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Returns one of the exported functions; each new batch size compiles once."""
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    data = (folder / manifest["functions"][function]["file"]).read_bytes()
    call = jax.jit(jax.export.deserialize(bytearray(data)).call)
    return lambda signal, condition: np.asarray(call(np.float32(signal), np.float32(condition)))


def main(inputs: str, outputs: str) -> None:
    """Runs one file of inputs."""
    arrays = np.load(inputs)
    function, signal, result = "whole", "waveform", "estimate"
    if "magnitude" in arrays:
        function, signal, result = "core", "magnitude", "mask"
    results = {result: load(function)(arrays[signal], arrays["condition"])}
    np.savez(outputs, allow_pickle=False, **results)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(*sys.argv[1:])
