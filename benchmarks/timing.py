"""Shared by the benchmarks: timed calls, Markdown tables, the machine's name, and the command line."""

import dataclasses
import importlib.metadata
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import jax
import numpy as np
import tyro

import audiosep_jax
from audiosep_jax.config import ModelConfig
from audiosep_jax.config.loading import load_experiment
from audiosep_jax.models import separator

T = TypeVar("T")
Args = TypeVar("Args")

DEMO = Path(audiosep_jax.__file__).parent / "assets" / "demo"
"""Folder of the bundled clips."""

_PACKAGES = ("audiosep_jax", "jax", "jaxlib", "flax", "numpy")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelArgs:
    """Arguments of benchmarks that take trained or random weights."""

    checkpoint: Path | None = None
    """Folder of the model; without it the bundled one is measured."""
    experiment: Path | None = None
    """Experiment file, in place of a checkpoint: its model with random weights."""

    def load(self) -> tuple[ModelConfig, separator.Variables]:
        """Returns the model's shape and weights.

        Raises:
          AudioSepError: the checkpoint or the experiment cannot be loaded.
        """
        if self.experiment is None:
            model = audiosep_jax.load(self.checkpoint)
            return model.config.model, model.variables
        config = load_experiment(self.experiment).model
        return config, separator.init(config, jax.random.key(0))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Timing:
    """Wall-clock seconds of one kind of call, that of the first with compilation.

    `amount` is seconds of sound, or captions, per call; 0 leaves the speed out.
    """

    name: str
    first: float
    warm: tuple[float, ...] = ()
    amount: float = 0.0

    def cells(self) -> list[str]:
        """Returns a row of the table."""
        median = statistics.median(self.warm or (self.first,))
        warm = spread(self.warm) if self.warm else [""] * 3
        return [self.name, duration(self.first), *warm, f"{self.amount / median:.1f}" if self.amount else ""]


def table(timings: Sequence[Timing], *, speed: str) -> str:
    """Returns a Markdown table with a row per timing; `speed` names the column amount ÷ median."""
    return markdown(("", "first call", "min", "median", "max", speed), [timing.cells() for timing in timings])


def markdown(columns: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> str:
    """Returns a Markdown table with `left` left-aligned columns.

    Examples:
      >>> print(markdown(("kind", "time"), [("wav", "2 s")]))
      | kind | time |
      | --- | ---: |
      | wav | 2 s |
    """
    alignments = ["---"] * left + ["---:"] * (len(columns) - left)
    lines = [columns, alignments, *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def spread(values: Sequence[float], form: Callable[[float], str] | None = None) -> list[str]:
    """Returns minimum, median and maximum as cells; `form` formats one, by default as a duration."""
    return [(form or duration)(f(values)) for f in (min, statistics.median, max)]


def repeated(name: str, call: Callable[[], object], *, repeats: int, amount: float = 0.0) -> Timing:
    """Times a first call and then `repeats` more."""
    first = timed(call)[1]
    return Timing(name=name, first=first, warm=tuple(timed(call)[1] for _ in range(repeats)), amount=amount)


def timed(call: Callable[[], T]) -> tuple[T, float]:
    """Returns the result of a call, and the seconds it took."""
    started = time.perf_counter()
    result = call()
    return result, time.perf_counter() - started


def duration(seconds: float) -> str:
    """Returns seconds as a table cell.

    Examples:
      >>> duration(0.25), duration(2)
      ('250 ms', '2.00 s')
    """
    return f"{seconds * 1e3:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def unit(vectors: np.ndarray) -> np.ndarray:
    """Returns float32 vectors of unit length, along the last axis."""
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def machine() -> str:
    """Returns the names of the machine and its accelerator, and the versions of the measured packages."""
    model = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.is_file():
        names = [line for line in information.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    devices = jax.devices()
    accelerator = "" if devices[0].platform == "cpu" else f", {len(devices)} × {devices[0].device_kind}"
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES)
    return f"{model}, {cores} cores{accelerator}; Python {platform.python_version()}, {versions}"


def run(report: Callable[[Args], str], args_class: type[Args]) -> None:
    """Prints the machine and the report for the arguments of the command line."""
    try:
        print(f"{machine()}\n\n{report(tyro.cli(args_class))}")
    except audiosep_jax.AudioSepError as error:
        raise SystemExit(f"error: {error}") from None
