"""The process of `benchmarks.beside_pytorch` that separates by `AudioSep.separate`.

  python -m benchmarks.our_separation FOLDER

FOLDER holds `checkpoint`, `condition.npy` and the mixtures. Jobs and answers are those of
`benchmarks/pytorch_twin.py`.
"""

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import audiosep_jax
from audiosep_jax.separation.api import AudioSep
from benchmarks.serving import peak_bytes, serve


def answer(folder: Path, job: dict[str, Any], model: AudioSep) -> dict[str, float]:
    """Does a job; returns its seconds and the peak of the process in bytes."""
    mixture, condition = np.load(folder / job["mixture"]), np.load(folder / "condition.npy")
    started = time.perf_counter()
    result = model.separate(mixture, model.sample_rate_hz, condition=condition)
    seconds = time.perf_counter() - started
    np.save(folder / job["estimate"], result.estimate)
    return {"seconds": seconds, "peak_bytes": peak_bytes()}


if __name__ == "__main__":
    place = Path(sys.argv[1])
    loaded = audiosep_jax.load(place / "checkpoint")
    serve({}, lambda job: answer(place, job, loaded))
