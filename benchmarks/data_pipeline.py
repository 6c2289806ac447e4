"""Speed of the data pipeline: segments per second that are read, decoded, cropped and batched.

Run `python -m benchmarks.data_pipeline`. Without datasets it prepares one of noise, which is the slowest to
decode, because FLAC compresses it least.
"""

import dataclasses
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from audiosep_jax.audio.writing import write_audio
from audiosep_jax.config import DataConfig, MixtureConfig
from benchmarks import timing
from data_pipelines.corpora.audio_folder import AudioFolder
from data_pipelines.mixtures.pipeline import MixturePipeline
from data_pipelines.prepare.build import prepare

_CLIP_SECONDS = 10.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchmarkArgs:
    """Measure the data pipeline."""

    datasets: tuple[str, ...] = ()
    """Prepared datasets, each PATH or PATH:SPLIT+SPLIT; without any, noise."""
    sample_rate_hz: Annotated[int, tyro.conf.arg(name="rate")] = 32_000
    """Rate of the datasets in Hz."""
    segment_seconds: float = 5.0
    """Length of a segment."""
    batch_size: int = 16
    """Mixtures per batch, two segments each."""
    batches: int = 12
    """Batches per repeat."""
    repeats: int = 5
    """Number of measurements."""
    threads: int = 0
    """Threads that decode; 0 decodes in the main thread, to measure one core."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Speed:
    """Segments per second in one repeat, by wall-clock time and by the process's CPU time.

    Other programs have less influence on the latter.
    """

    wall: float
    per_core: float


def measure(args: BenchmarkArgs) -> list[Speed]:
    """Times `args.repeats` runs over successive batches, after one batch to warm up."""
    data = DataConfig(datasets=args.datasets, read_threads=args.threads)
    mixture = MixtureConfig(segment_seconds=args.segment_seconds)
    pipeline = MixturePipeline(
        data,
        mixture,
        sample_rate_hz=args.sample_rate_hz,
        batch_size=args.batch_size,
        conditions=lambda captions: np.zeros((len(captions), 512), np.float32),
    )
    iterator = iter(pipeline.batches())
    next(iterator)
    speeds = []
    for _ in range(args.repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        segments = sum(next(iterator).segments.shape[0] * mixture.sources for _ in range(args.batches))
        speeds.append(
            Speed(
                wall=segments / (time.perf_counter() - wall), per_core=segments / (time.process_time() - cpu)
            )
        )
    return speeds


def prepare_noise(folder: Path, *, sample_rate_hz: int, clips: int = 32) -> Path:
    """Prepares `clips` clips of noise, ten seconds each, of two labels, and returns the dataset's folder."""
    rng = np.random.default_rng(0)
    sounds = folder / "sounds"
    sounds.mkdir()
    lines = ["file,captions,label"]
    for number in range(clips):
        noise = 0.1 * rng.standard_normal(round(_CLIP_SECONDS * sample_rate_hz))
        write_audio(sounds / f"{number}.wav", noise, sample_rate_hz=sample_rate_hz)
        lines.append(f"{number}.wav,noise {number % 2},{number % 2}")
    (sounds / "clips.csv").write_text("\n".join(lines), "utf-8")
    prepare(
        lambda work: AudioFolder(source=sounds, sample_rate_hz=sample_rate_hz, data_dir=work),
        folder / "noise",
    )
    return folder / "noise"


def report(args: BenchmarkArgs) -> str:
    """Measures and returns a table."""
    with tempfile.TemporaryDirectory() as folder:
        if not args.datasets:
            noise = prepare_noise(Path(folder), sample_rate_hz=args.sample_rate_hz)
            args = dataclasses.replace(args, datasets=(str(noise),))
        speeds = measure(args)
    rows = [
        ["wall", *timing.spread([speed.wall for speed in speeds], "{:.0f}".format)],
        ["per core", *timing.spread([speed.per_core for speed in speeds], "{:.0f}".format)],
    ]
    columns = (f"segments of {args.segment_seconds:g} s per second", "min", "median", "max")
    return timing.markdown(columns, rows)


if __name__ == "__main__":
    timing.run(report, BenchmarkArgs)
