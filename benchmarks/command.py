"""Time and memory of `audiosep separate`, a process per file, from its start to its end.

Run `python -m benchmarks.command`. A file of 5 s shows the time to start with compiled programs in the cache
(a run before the measured ones fills it). Long files show that time grows with the length and memory does
not.
"""

import dataclasses
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

import audiosep_jax
from audiosep_jax.errors import UsageError
from benchmarks import timing

_BLOCK_SECONDS = 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchmarkArgs:
    """Measure the command."""

    checkpoint: str | None = None
    """Folder or name of the model; without it the bundled one is measured."""
    seconds: tuple[float, ...] = (5.0, 300.0, 1200.0, 3600.0)
    """Lengths of the files."""
    repeats: int = 3
    """Measured runs of the shortest file; the others run once."""
    query: str = "a dog barks"
    """The sentence."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """A finished process: seconds from start to end, seconds of all cores, and most memory."""

    wall: float
    cores: float
    peak_bytes: int


def run_command(path: Path, out: Path, args: BenchmarkArgs) -> Run:
    """Separates a file by the command.

    Raises:
      UsageError: the command failed.
    """
    command = [sys.executable, "-m", "audiosep_jax.cli.main", "separate", str(path), "--query", args.query]
    command += ["--out", str(out), *([] if args.checkpoint is None else ["--checkpoint", args.checkpoint])]
    started = time.perf_counter()
    silent = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_WRONLY, 0) for fd in (1, 2)]
    process = os.posix_spawn(command[0], command, os.environ, file_actions=silent)
    _, status, usage = os.wait4(process, 0)
    wall = time.perf_counter() - started
    if status:
        code = os.waitstatus_to_exitcode(status)
        raise UsageError(f"audiosep separate ended with {code}: run it by hand to see why.")
    # Kilobytes on Linux; never less than the memory of this process, which is little.
    return Run(wall=wall, cores=usage.ru_utime + usage.ru_stime, peak_bytes=usage.ru_maxrss * 1024)


def measure(args: BenchmarkArgs) -> dict[float, list[Run]]:
    """Runs the command on noise of every length.

    Raises:
      AudioSepError: the model cannot be loaded, or the command fails.
    """
    rate = audiosep_jax.load(args.checkpoint).sample_rate_hz
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        for seconds in args.seconds:
            path, out = Path(scratch) / f"{seconds:g}s.wav", Path(scratch) / "out"
            write_noise(path, seconds, rate)
            shortest = seconds == min(args.seconds)
            repeats = args.repeats if shortest else 1
            if shortest:
                run_command(path, out, args)  # compiles
            found[seconds] = [run_command(path, out, args) for _ in range(repeats)]
            path.unlink()
    return found


def write_noise(path: Path, seconds: float, rate: int) -> None:
    """Writes mono noise of 16 bits, block by block."""
    rng = np.random.default_rng(0)
    left = round(seconds * rate)
    with soundfile.SoundFile(path, "w", rate, 1, "PCM_16") as file:
        while left:
            size = min(left, _BLOCK_SECONDS * rate)
            file.write(0.1 * rng.standard_normal(size, np.float32))
            left -= size


def report(args: BenchmarkArgs) -> str:
    """Measures and returns a table."""
    columns = ("file", "runs", "min", "median", "max", "of all cores", "per second of sound", "peak memory")
    rows = []
    for seconds, runs in measure(args).items():
        walls = [run.wall for run in runs]
        cells = [f"{seconds:g} s", str(len(runs)), *timing.spread(walls)]
        cells.append(timing.duration(statistics.median(run.cores for run in runs)))
        cells.append(timing.duration(statistics.median(walls) / seconds))
        rows.append([*cells, f"{max(run.peak_bytes for run in runs) / 1e9:.2f} GB"])
    return timing.markdown(columns, rows)


if __name__ == "__main__":
    timing.run(report, BenchmarkArgs)
