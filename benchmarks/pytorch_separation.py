"""The PyTorch twin of separation: the reference's habits, for comparison.

STFT and inverse STFT as convolutions, BatchNorm and FiLM computed anew in every call, long sounds in windows
of 5 s of which nearly every one is computed twice. `benchmarks.beside_pytorch` runs it, as a process of its
own, because it needs PyTorch and nothing of this project:

  python benchmarks/pytorch_separation.py FOLDER

FOLDER holds `config.json` (arguments of `Twin`), `weights.npz` (a state dict), `condition.npy` and the
mixtures. Prints a line of JSON when it is ready. For each line of its standard input, a job such as
`{"mixture": "long.npy", "windows": true, "precision": "float32", "estimate": "long-theirs.npy"}`, it prints
`{"seconds": …, "peak_bytes": …}`, the peak being that of the process so far.
"""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np
from pytorch_twin import Twin, torch  # pyright: ignore[reportAttributeAccessIssue]

LEFT_SECONDS, CENTRE_SECONDS, RIGHT_SECONDS = 1, 3, 1


def in_windows(model, mixture, condition, *, rate):
    """Separates `[1, samples]` as the reference does: 5 s at a time, each joined to the next by a hard cut.

    Its loop computes the window at its place, moves on by 3 s, computes the window there for the end of the
    sound that it might be, and computes it again as the next one.
    """
    samples = mixture.shape[-1]
    window = (LEFT_SECONDS + CENTRE_SECONDS + RIGHT_SECONDS) * rate
    left, right = LEFT_SECONDS * rate, RIGHT_SECONDS * rate
    estimate = np.zeros((1, samples), np.float32)
    start = 0
    while start + window < samples:
        chunk = model(mixture[:, start : start + window], condition).float().numpy()
        skipped = left if start else 0
        estimate[:, start + skipped : start + window - right] = chunk[:, skipped : window - right]
        start += CENTRE_SECONDS * rate
        if start < samples:
            chunk = model(mixture[:, start : start + window], condition).float().numpy()
            estimate[:, start + left : start + chunk.shape[-1]] = chunk[:, left:]
    return estimate


def load(folder):
    """Returns the model and the condition of a folder, and the rate in Hz."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    model = Twin(**config["model"])
    with np.load(folder / "weights.npz") as weights:
        state = {name: torch.from_numpy(weights[name]) for name in weights.files}
    constants = {name for name in model.state_dict() if ".spectrum." in name or "num_batches" in name}
    if missing := set(model.state_dict()) - constants - set(state):
        raise SystemExit(f"error: weights.npz lacks {', '.join(sorted(missing))}.")
    model.load_state_dict(state, strict=False)
    return model.eval(), torch.from_numpy(np.load(folder / "condition.npy"))[None], config["rate"]


def peak_bytes():
    """Returns the most memory that this process has held; Linux."""
    # Not getrusage: it counts what the parent held when it started this process.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def answer(folder, job, model, condition, rate):
    """Does a job; returns its seconds and the peak of the process."""
    mixture = torch.from_numpy(np.load(folder / job["mixture"]))[None]
    half = job["precision"] == "bfloat16"
    started = time.perf_counter()
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        if job["windows"]:
            estimate = in_windows(model, mixture, condition, rate=rate)
        else:
            estimate = model(mixture, condition).float().numpy()
    seconds = time.perf_counter() - started
    np.save(folder / job["estimate"], estimate[0])
    return {"seconds": seconds, "peak_bytes": peak_bytes()}


if __name__ == "__main__":
    if hasattr(os, "sched_getaffinity"):
        torch.set_num_threads(len(os.sched_getaffinity(0)))
    place = Path(sys.argv[1])
    loaded = load(place)
    print(json.dumps({"torch": torch.__version__, "threads": torch.get_num_threads()}), flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(place, json.loads(line), *loaded)), flush=True)
