"""Runs this export with JAX and NumPy alone.

  python run.py INPUTS.npz OUTPUTS.npz

INPUTS.npz holds `waveform` [batch, window samples], or `magnitude` [batch, frames, bins] for the function
"core", and `condition` [batch, size]; all float32. OUTPUTS.npz gets `estimate` or `mask`. manifest.json
states the shapes and the sample rate. From Python: `load("whole")(waveform, condition)`.

Where the manifest states a working level, this script brings every waveform to it, and its estimate back.
`load` returns the bare function: call `at_working_level` around it.
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


def at_working_level(
    separate: Callable[[np.ndarray, np.ndarray], np.ndarray], folder: Path = FOLDER
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Wraps "whole": every waveform has the root mean square of the working level before it."""
    level_db = json.loads((folder / "manifest.json").read_text("utf-8"))["config"]["model"].get(
        "working_level_db"
    )
    if level_db is None:
        return separate

    def call(waveform: np.ndarray, condition: np.ndarray) -> np.ndarray:
        rms = np.std(np.float64(waveform), axis=-1, keepdims=True)
        # Silence stays as it is; below -100 dBFS nothing is raised further.
        gain = np.float32(np.where(rms > 0, 10 ** (level_db / 20) / np.maximum(rms, 1e-5), 1))
        return separate(waveform * gain, condition) / gain

    return call


def main(inputs: str, outputs: str) -> None:
    """Runs one file of inputs."""
    arrays = np.load(inputs)
    function, signal, result = "whole", "waveform", "estimate"
    if "magnitude" in arrays:
        function, signal, result = "core", "magnitude", "mask"
    separate = load(function) if function == "core" else at_working_level(load(function))
    results = {result: separate(arrays[signal], arrays["condition"])}
    np.savez(outputs, allow_pickle=False, **results)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(*sys.argv[1:])
