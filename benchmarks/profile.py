"""Time of each part of a separation on a processor, from JAX's profile of one call.

Run `python -m benchmarks.profile`. The compiled program names the part of the model of each operation, and
the profile has the time of each. Operations run one after another, each on all cores. Reading, resampling and
writing are timed too, as `separate_file` does them but without a model.
"""

import collections
import dataclasses
import re
import tempfile
import time
from pathlib import Path

import jax
import jax.profiler
import numpy as np
import soundfile

from audiosep_jax.audio.reading import AudioReader
from audiosep_jax.audio.resample import StreamResampler
from audiosep_jax.audio.writing import AudioWriter
from audiosep_jax.config import ModelConfig
from audiosep_jax.models import separator
from audiosep_jax.models.inference import cpu_compile
from audiosep_jax.models.inference import engine as inference
from audiosep_jax.separation import window_plans
from benchmarks import timing

# An operation of a compiled program, and its name in the traced program.
_OPERATION = re.compile(r'^\s*(?:ROOT )?%?([\w.\-]+) = .*op_name="([^"]*)"', re.MULTILINE)
_PART = re.compile(r"(stft|normalize|encoder\d+|bottleneck\d+|decoder\d+|mask|istft)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchmarkArgs(timing.ModelArgs):
    """Profile a separation."""

    seconds: float = 10.0
    """Length of the sound, rounded up to a window."""
    repeats: int = 3
    """Profiled calls."""
    file_rate_hz: int = 44_100
    """Rate of the file for reading and writing; 16 bits, stereo."""


def parts_of_model(
    config: ModelConfig, variables: separator.Variables, args: BenchmarkArgs
) -> dict[str, float]:
    """Returns the seconds of each part of one call, the slowest first; "all" is the wall-clock time."""
    engine = inference.prepare(config, variables)
    rng = np.random.default_rng(0)
    samples = window_plans.window_plan(config, round(args.seconds * config.sample_rate_hz)).window
    mixture = 0.1 * rng.standard_normal((1, samples), np.float32)
    columns = engine.columns(rng.standard_normal((1, config.condition_size), np.float32) / 20)
    program = cpu_compile.jit(engine.apply).lower(engine.params, mixture, columns).compile()
    names = dict(_OPERATION.findall(program.as_text() or ""))
    np.asarray(program(engine.params, mixture, columns))
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            started = time.perf_counter()
            for _ in range(args.repeats):
                np.asarray(program(engine.params, mixture, columns))
            wall = (time.perf_counter() - started) / args.repeats
        (trace,) = Path(folder).rglob("*.xplane.pb")
        data = jax.profiler.ProfileData.from_file(str(trace))
    started_at = sorted(
        (event.start_ns, event.start_ns + event.duration_ns, event.name)
        for plane in data.planes
        for line in plane.lines
        for event in line.events
        # Not loops: the operations of their bodies are counted.
        if event.name in names and not event.name.startswith("while")
    )
    found: collections.Counter[str] = collections.Counter()
    # Until the next one begins, because a convolution continues in the thread pool after its event has ended.
    for (start, end, name), following in zip(started_at, [*started_at[1:], None], strict=True):
        part = _PART.search(names[name])
        found[part[1] if part else "other"] += (following[0] if following else end) - start
    seconds = {part: total / 1e9 / args.repeats for part, total in found.most_common()}
    return seconds | {"all": wall}


def parts_of_file(config: ModelConfig, args: BenchmarkArgs) -> dict[str, float]:
    """Returns the seconds of reading, resampling and writing a file of the same length."""
    rng = np.random.default_rng(0)
    rate = args.file_rate_hz
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mixture.wav"
        soundfile.write(path, 0.1 * rng.standard_normal((round(args.seconds * rate), 2)), rate)
        started = time.perf_counter()
        with AudioReader(path) as reader:
            sound = np.concatenate(list(reader.blocks(1 << 16)), axis=1)
        found = {"reading": time.perf_counter() - started}
        started = time.perf_counter()
        down = StreamResampler(channels=2, from_hz=rate, to_hz=config.sample_rate_hz)
        up = StreamResampler(channels=2, from_hz=config.sample_rate_hz, to_hz=rate)
        low = np.concatenate([down.push(sound), down.flush()], axis=1)
        high = np.concatenate([up.push(low), up.flush()], axis=1)
        found["resampling there and back"] = time.perf_counter() - started
        started = time.perf_counter()
        for name in ("estimate", "residual"):
            with AudioWriter(
                Path(folder) / f"{name}.wav",
                sample_rate_hz=rate,
                channels=2,
                subtype="PCM_16",
                samples=high.shape[1],
            ) as writer:
                writer.write(high)
        found["writing both results"] = time.perf_counter() - started
    return found


def report(args: BenchmarkArgs) -> str:
    """Measures and returns a table."""
    config, variables = args.load()
    parts = parts_of_model(config, variables, args)
    whole = parts.pop("all")
    parts["between operations"] = max(0.0, whole - sum(parts.values()))
    parts |= {"the model": whole, **parts_of_file(config, args)}
    rows = [[part, timing.duration(taken), f"{taken / whole:.0%}"] for part, taken in parts.items()]
    return timing.markdown(("part", "time", "share"), rows)


if __name__ == "__main__":
    timing.run(report, BenchmarkArgs)
