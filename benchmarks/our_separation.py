"""Our side of `benchmarks.beside_pytorch`: the same jobs in the same words, by `AudioSep.separate`.

  python -m benchmarks.our_separation FOLDER

FOLDER holds `checkpoint`, `condition.npy` and the mixtures; jobs and answers are those of
`benchmarks/pytorch_separation.py`.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import audiosep_jax
from audiosep_jax.separation.api import AudioSep


def peak_bytes() -> int:
    """Returns the most memory that this process has held; Linux."""
    # Not getrusage: it counts what the parent held when it started this process.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def answer(folder: Path, job: dict[str, Any], model: AudioSep) -> dict[str, float]:
    """Does a job; returns its seconds and the peak of the process in bytes."""
    mixture, condition = np.load(folder / job["mixture"]), np.load(folder / "condition.npy")
    started = time.perf_counter()
    result = model.separate(mixture, model.sample_rate_hz, condition=condition)
    seconds = time.perf_counter() - started
    np.save(folder / job["estimate"], result.estimate)
    return {"seconds": seconds, "peak_bytes": peak_bytes()}


def main() -> None:
    """Answers a line for each line of the standard input."""
    folder = Path(sys.argv[1])
    model = audiosep_jax.load(folder / "checkpoint")
    print(json.dumps({}), flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(folder, json.loads(line), model)), flush=True)


if __name__ == "__main__":
    main()
