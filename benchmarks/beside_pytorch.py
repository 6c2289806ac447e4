"""How fast separation is beside the PyTorch reference's way, on this machine, and how much memory each takes.

Run `python -m benchmarks.beside_pytorch --torch-python PYTHON`. Both sides have the same random weights and
the same noise, each in a process of its own, and take turns, so that whatever else the machine does
meets both:

- a short sound in one pass, in float32; the twin with bfloat16 autocast, too;
- a long sound: our windows beside the reference's, of which it computes nearly every one twice.

The peak of memory is that of a process that did nothing else. Estimates are compared: twins that compute
different things measure nothing.
"""

import contextlib
import dataclasses
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from audiosep_jax.checkpoints import folder as checkpoints
from audiosep_jax.checkpoints.pytorch_names import to_pytorch
from audiosep_jax.config import ExperimentConfig
from audiosep_jax.config.loading import load_experiment
from audiosep_jax.errors import UsageError
from audiosep_jax.models import separator
from audiosep_jax.separation import window_plans
from benchmarks import timing
from benchmarks.workers import worker

# What two implementations of float32 arithmetic may differ by.
_SAME_DB = 60

Ask = Callable[[dict[str, Any]], dict[str, Any]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchmarkArgs:
    """Measure separation beside its PyTorch twin."""

    experiment: Path = Path("experiments/base.py")
    """Experiment file; its model must be of the released kind."""
    short_seconds: float = 10.0
    """Length of the sound that is separated in one pass, rounded up to one of our windows."""
    long_seconds: float = 60.0
    """Length of the sound that is separated in windows; 0 leaves it out."""
    repeats: int = 5
    """Warm calls for the short sound."""
    long_repeats: int = 3
    """Calls for the long sound."""
    bfloat16: bool = True
    """Measure the twin's bfloat16 autocast as well."""
    torch_python: Path = Path(sys.executable)
    """A Python that has PyTorch."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measurement:
    """One kind of call.

    Attributes:
      name: what was done.
      side: "ours" or "PyTorch".
      seconds: of the warm calls.
      peak_bytes: the most memory that a process which did nothing else held.
      snr_db: of the estimate against that of our float32; None for itself.
    """

    name: str
    side: str
    seconds: tuple[float, ...]
    peak_bytes: int
    snr_db: float | None

    def row(self, reference: "Measurement") -> str:
        """Returns a row of the table; `reference` is our float32 for the same sound."""
        spread = [timing.duration(f(self.seconds)) for f in (min, statistics.median, max)]
        ratio = statistics.median(self.seconds) / statistics.median(reference.seconds)
        snr = "" if self.snr_db is None else f"{self.snr_db:.0f} dB"
        cells = [self.name, self.side, *spread, f"{ratio:.2f}", f"{self.peak_bytes / 1e9:.2f} GB", snr]
        return f"| {' | '.join(cells)} |"


def measure(args: BenchmarkArgs) -> list[Measurement]:
    """Runs both sides in turns.

    Raises:
      AudioSepError: there is no PyTorch, the experiment has no twin, or the two do not compute the same.
    """
    config = load_experiment(args.experiment)
    model = config.model
    if model.film != "shift" or model.magnitude_power != 1 or model.bottleneck_blocks != 1:
        raise UsageError(f"{args.experiment}: the PyTorch twin is of the released kind of model only.")
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        _write(place, config, {"short": args.short_seconds, "long": args.long_seconds, "warm": 6.0})
        sides = {
            "ours": [sys.executable, "-m", "benchmarks.our_separation", scratch],
            "PyTorch": [
                str(args.torch_python),
                str(Path(__file__).with_name("pytorch_separation.py")),
                scratch,
            ],
        }
        jobs = [_job("short", "ours"), _job("short", "PyTorch")]
        if args.bfloat16:
            jobs.append(_job("short", "PyTorch", precision="bfloat16"))
        found += _in_turns(place, sides, jobs, repeats=args.repeats)
        if args.long_seconds:
            jobs = [_job("long", "ours"), _job("long", "PyTorch")]
            found += _in_turns(place, sides, jobs, repeats=args.long_repeats)
    return found


def _write(place: Path, config: ExperimentConfig, lengths: dict[str, float]) -> None:
    model, rng = config.model, np.random.default_rng(0)
    variables = separator.init(model, jax.random.key(0))
    checkpoints.save(place / "checkpoint", config, variables)
    settings = {
        "window_length": model.window_length,
        "hop_length": model.hop_length,
        "encoder_widths": model.encoder_widths,
        "condition_size": model.condition_size,
    }
    text = json.dumps({"model": settings, "rate": model.sample_rate_hz})
    (place / "config.json").write_text(text, "utf-8")
    weights = {name: np.ascontiguousarray(value) for name, value in to_pytorch(model, variables).items()}
    np.savez(place / "weights.npz", **weights)  # pyright: ignore[reportArgumentType]
    condition = rng.standard_normal(model.condition_size)
    np.save(place / "condition.npy", (condition / np.linalg.norm(condition)).astype(np.float32))
    for name, seconds in lengths.items():
        samples = round(seconds * model.sample_rate_hz)
        if name == "short":
            # As long as a window of ours, which it would be filled up to: both sides have the same to do.
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
    place: Path, sides: dict[str, list[str]], jobs: list[dict[str, Any]], *, repeats: int
) -> list[Measurement]:
    """Does the jobs in turns, each in a process that does nothing else."""
    seconds: list[list[float]] = [[] for _ in jobs]
    peaks = [0] * len(jobs)
    with contextlib.ExitStack() as stack:
        asks = [stack.enter_context(_started(sides, job["side"])) for job in jobs]
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


@contextlib.contextmanager
def _started(sides: dict[str, list[str]], side: str) -> Iterator[Ask]:
    name = "the PyTorch twin" if side == "PyTorch" else "our own process"
    with worker(sides[side], name=name) as (_, ask):
        yield ask


def _snr_db(job: dict[str, Any], reference: np.ndarray, estimate: np.ndarray) -> float | None:
    """Returns how near an estimate is to our float32's; None for itself and for what is cut otherwise.

    Raises:
      AudioSepError: the twin computes something else.
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
    rows = [
        "| sound | side | min | median | max | ÷ ours | peak memory | SNR to ours |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    reference = measurements[0]
    for each in measurements:
        reference = each if each.side == "ours" else reference
        rows.append(each.row(reference))
    return "\n".join(rows)


def report(args: BenchmarkArgs) -> str:
    """Measures and returns a table."""
    return table(measure(args))


if __name__ == "__main__":
    timing.run(report, BenchmarkArgs)
