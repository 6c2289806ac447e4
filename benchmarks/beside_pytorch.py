"""Speed and memory of separation on this machine: ours, and a PyTorch twin's with the reference's habits.

Run `python -m benchmarks.beside_pytorch --torch-python PYTHON`. Both sides get the same random weights and
noise. Each runs in a process of its own, and they take turns, so that other work on the machine slows both:

- a short sound in one pass, in float32; the twin with bfloat16 autocast, too;
- a long sound in windows: ours, and the reference's, which computes nearly every one twice.

The peak of memory is that of a process that did nothing else. The estimates are compared, because a twin that
computes something else is no comparison.
"""

import contextlib
import dataclasses
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from audiosep_jax.checkpoints import folder as checkpoints
from audiosep_jax.config import ExperimentConfig
from audiosep_jax.config.loading import load_experiment
from audiosep_jax.errors import UsageError
from audiosep_jax.models import separator
from audiosep_jax.separation import window_plans
from benchmarks import timing
from benchmarks.workers import twin, worker, write_twin

# Lowest SNR between two implementations in float32 arithmetic.
_SAME_DB = 60


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchmarkArgs:
    """Measure separation beside its PyTorch twin."""

    experiment: Path = Path("experiments/base.py")
    """Experiment file; its model must be of the released kind."""
    short_seconds: float = 10.0
    """Length of the sound for one pass, rounded up to one of our windows."""
    long_seconds: float = 60.0
    """Length of the sound for windows; 0 leaves it out."""
    repeats: int = 5
    """Warm calls for the short sound."""
    long_repeats: int = 3
    """Calls for the long sound."""
    bfloat16: bool = True
    """Also measure the twin with bfloat16 autocast."""
    torch_python: Path = Path(sys.executable)
    """A Python that has PyTorch."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measurement:
    """Warm calls of one kind; `snr_db` is that of the estimate against ours in float32, None for ours."""

    name: str
    side: str
    seconds: tuple[float, ...]
    peak_bytes: int
    snr_db: float | None

    def cells(self, reference: "Measurement") -> list[str]:
        """Returns a row of the table; `reference` is ours in float32 for the same sound."""
        ratio = statistics.median(self.seconds) / statistics.median(reference.seconds)
        snr = "" if self.snr_db is None else f"{self.snr_db:.0f} dB"
        peak = f"{self.peak_bytes / 1e9:.2f} GB"
        return [self.name, self.side, *timing.spread(self.seconds), f"{ratio:.2f}", peak, snr]


def measure(args: BenchmarkArgs) -> list[Measurement]:
    """Runs both sides in turns.

    Raises:
      AudioSepError: PyTorch is missing, the experiment has no twin, or the twin computes something else.
    """
    config = load_experiment(args.experiment)
    model = config.model
    if model.film != "shift" or model.magnitude_power != 1 or model.bottleneck_blocks != 1:
        raise UsageError(f"{args.experiment}: the PyTorch twin is of the released kind of model only.")
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        _write(place, config, {"short": args.short_seconds, "long": args.long_seconds, "warm": 6.0})
        jobs = [_job("short", "ours"), _job("short", "PyTorch")]
        if args.bfloat16:
            jobs.append(_job("short", "PyTorch", precision="bfloat16"))
        found += _in_turns(place, args.torch_python, jobs, repeats=args.repeats)
        if args.long_seconds:
            jobs = [_job("long", "ours"), _job("long", "PyTorch")]
            found += _in_turns(place, args.torch_python, jobs, repeats=args.long_repeats)
    return found


def _write(place: Path, config: ExperimentConfig, lengths: dict[str, float]) -> None:
    model, rng = config.model, np.random.default_rng(0)
    variables = separator.init(model, jax.random.key(0))
    checkpoints.save(place / "checkpoint", config, variables)
    write_twin(place, model, variables, rate=model.sample_rate_hz)
    np.save(place / "condition.npy", timing.unit(rng.standard_normal(model.condition_size)))
    for name, seconds in lengths.items():
        samples = round(seconds * model.sample_rate_hz)
        if name == "short":
            # A whole window of ours, to which we pad shorter sounds: both sides get the same length.
            samples = window_plans.window_plan(model, samples).window
        np.save(place / f"{name}.npy", 0.1 * rng.standard_normal(samples, np.float32))


def _job(sound: str, side: str, precision: str = "float32") -> dict[str, Any]:
    return {
        "side": side,
        "mixture": f"{sound}.npy",
        "windows": sound == "long",
        "precision": precision,
        "estimate": f"{sound}-{side}-{precision}.npy",
    }


def _in_turns(
    place: Path, torch_python: Path, jobs: list[dict[str, Any]], *, repeats: int
) -> list[Measurement]:
    """Does the jobs in turns, each in a process that does nothing else."""
    seconds: list[list[float]] = [[] for _ in jobs]
    peaks = [0] * len(jobs)
    command = [sys.executable, "-m", "benchmarks.our_separation", str(place)]
    with contextlib.ExitStack() as stack:
        workers = [
            twin(torch_python, place) if job["side"] == "PyTorch" else worker(command, name="our process")
            for job in jobs
        ]
        asks = [stack.enter_context(each)[1] for each in workers]
        for ask, job in zip(asks, jobs, strict=True):  # compiles, and fills the allocators
            warm = "warm.npy" if job["windows"] else job["mixture"]
            ask({**job, "mixture": warm, "estimate": "unused.npy"})
        for _ in range(repeats):
            for index, (ask, job) in enumerate(zip(asks, jobs, strict=True)):
                answer = ask(job)
                seconds[index].append(answer["seconds"])
                peaks[index] = answer["peak_bytes"]
    reference = np.load(place / jobs[0]["estimate"])
    return [
        Measurement(
            name=f"{job['mixture'].removesuffix('.npy')}, {job['precision']}",
            side=job["side"],
            seconds=tuple(taken),
            peak_bytes=peak,
            snr_db=_snr_db(job, reference, np.load(place / job["estimate"])),
        )
        for job, taken, peak in zip(jobs, seconds, peaks, strict=True)
    ]


def _snr_db(job: dict[str, Any], reference: np.ndarray, estimate: np.ndarray) -> float | None:
    """Returns the SNR of an estimate against ours in float32; None for ours, and for windows.

    Raises:
      UsageError: the twin computes something else.
    """
    if job["side"] == "ours" or job["windows"]:
        return None
    with np.errstate(divide="ignore"):
        error = np.linalg.norm(estimate - reference) / np.linalg.norm(reference)
        snr_db = float(-20 * np.log10(error))
    if job["precision"] == "float32" and snr_db < _SAME_DB:
        raise UsageError(f"the two do not compute the same: they differ by {-snr_db:.0f} dB.")
    return snr_db


def table(measurements: Sequence[Measurement]) -> str:
    """Returns a Markdown table with a row per kind of call; ratios are to our row above."""
    columns = ("sound", "side", "min", "median", "max", "÷ ours", "peak memory", "SNR to ours")
    rows, reference = [], measurements[0]
    for each in measurements:
        reference = each if each.side == "ours" else reference
        rows.append(each.cells(reference))
    return timing.markdown(columns, rows, left=2)


if __name__ == "__main__":
    timing.run(lambda args: table(measure(args)), BenchmarkArgs)
