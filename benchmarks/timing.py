"""What the benchmarks share: timing calls, a table of the times, and the machine's name."""

import dataclasses
import importlib.metadata
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import jax
import tyro

import audiosep_jax

T = TypeVar("T")
Args = TypeVar("Args")

_PACKAGES = ("audiosep_jax", "jax", "jaxlib", "flax", "numpy")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Timing:
    """Wall-clock seconds of one kind of call.

    Attributes:
      name: of the call.
      first: seconds of the first call, compilation included.
      warm: seconds of the later calls; empty for what is done once.
      amount: what one call handles: seconds of sound, or captions; 0 where there is none.
    """

    name: str
    first: float
    warm: tuple[float, ...] = ()
    amount: float = 0.0

    def row(self) -> str:
        """Returns a row of the Markdown table."""
        cells = [self.name, duration(self.first)]
        cells += [duration(f(self.warm)) for f in (min, statistics.median, max)] if self.warm else [""] * 3
        median = statistics.median(self.warm or (self.first,))
        return f"| {' | '.join([*cells, f'{self.amount / median:.1f}' if self.amount else ''])} |"


def table(timings: Sequence[Timing], *, speed: str) -> str:
    """Returns a Markdown table with a row per timing; `speed` names the column amount ÷ median."""
    header = [
        f"| | first call | min | median | max | {speed} |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    return "\n".join([*header, *(timing.row() for timing in timings)])


def repeated(name: str, call: Callable[[], object], *, repeats: int, amount: float = 0.0) -> Timing:
    """Times a first call and then `repeats` more."""
    first = timed(call)[1]
    return Timing(name=name, first=first, warm=tuple(timed(call)[1] for _ in range(repeats)), amount=amount)


def timed(call: Callable[[], T]) -> tuple[T, float]:
    """Returns what a call returns, and the seconds it took."""
    started = time.perf_counter()
    result = call()
    return result, time.perf_counter() - started


def duration(seconds: float) -> str:
    """Returns seconds in a form for tables."""
    return f"{seconds * 1e3:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def machine() -> str:
    """Names the machine, its accelerator if it has one, and the versions that were measured."""
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
    """Prints the machine and what `report` returns for the arguments of the command line."""
    try:
        print(f"{machine()}\n\n{report(tyro.cli(args_class))}")
    except audiosep_jax.AudioSepError as error:
        raise SystemExit(f"error: {error}") from None
