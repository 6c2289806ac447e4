"""Speed and output size of `audiosep prepare`, and an extrapolation to two million clips.

Run `python -m benchmarks.prepare --sounds FOLDER`: it cuts stereo clips of ten seconds at 44.1 kHz from the
sounds and prepares them. Without sounds the clips are noise, which FLAC compresses least.
"""

import dataclasses
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from audiosep_jax.audio.reading import read_audio
from audiosep_jax.audio.resample import resample
from audiosep_jax.errors import UsageError, listed
from benchmarks import timing
from data_pipelines.corpora.audio_folder import AudioFolder
from data_pipelines.mixtures.clips import ClipRow
from data_pipelines.prepare import shards
from data_pipelines.prepare.build import prepare

_SECONDS = 10
_RATE = 44_100

KINDS = {
    "wav": ("WAV", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
}
"""Names of libsndfile's formats and subtypes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchmarkArgs:
    """Measure the preparation of datasets."""

    sounds: Path | None = None
    """Folder of sound files, in any depth, to cut clips from; without it, noise."""
    clips: int = 96
    """Clips of each kind."""
    kinds: tuple[str, ...] = ("wav", "flac", "opus")
    """Of wav, flac, ogg (Vorbis) and opus."""
    repeats: int = 3
    """Runs for each kind; the fastest counts, because other work may slow the machine."""
    total: int = 2_000_000
    """Clips of the extrapolated corpus."""
    rows: int = 200_000
    """Rows for measuring the time and memory of planning; 0 leaves it out."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rate:
    """Speed by CPU time, and sizes per clip, for one kind of clips."""

    kind: str
    clips_per_core_second: float
    read_bytes: float
    stored_bytes: float


def measure(args: BenchmarkArgs, kind: str, folder: Path) -> Rate:
    """Writes clips of one kind and prepares them in one thread, to measure one core."""
    source = folder / kind
    write_clips(source, _sounds(args), kind=kind, count=args.clips)
    seconds = []
    out = folder / f"{kind} dataset"
    for _ in range(args.repeats):
        started = time.process_time()
        prepare(lambda work: AudioFolder(source=source, workers=1, data_dir=work), out, overwrite=True)
        seconds.append(time.process_time() - started)
    return Rate(
        kind=kind,
        clips_per_core_second=args.clips / min(seconds),
        read_bytes=sum(path.stat().st_size for path in source.glob("*.sound")) / args.clips,
        stored_bytes=sum(path.stat().st_size for path in out.iterdir()) / args.clips,
    )


def write_clips(folder: Path, waveform: np.ndarray, *, kind: str, count: int) -> None:
    """Writes clips of ten seconds, cut from float32 `[samples, 2]` at 44.1 kHz, and their table."""
    folder.mkdir()
    length = _SECONDS * _RATE
    lines = ["file,captions"]
    for number in range(count):
        start = number * length % (len(waveform) - length + 1)
        clip, rate = waveform[start : start + length], _RATE
        if kind == "opus":  # does not support 44.1 kHz
            clip, rate = resample(np.ascontiguousarray(clip.T), from_hz=_RATE, to_hz=48_000).T, 48_000
        file_format, subtype = KINDS[kind]
        soundfile.write(folder / f"{number}.sound", clip, rate, format=file_format, subtype=subtype)
        lines.append(f"{number}.sound,clip {number}")
    (folder / "clips.csv").write_text("\n".join(lines), "utf-8")


def _sounds(args: BenchmarkArgs) -> np.ndarray:
    """Returns sound for several different clips, with slightly different channels."""
    if args.sounds is None:
        return (0.1 * np.random.default_rng(0).standard_normal((100 * _RATE, 2))).astype(np.float32)
    parts = []
    for path in sorted(path for path in args.sounds.rglob("*") if path.suffix in (".ogg", ".wav", ".flac")):
        parts.append(read_audio(path, sample_rate_hz=_RATE, mono=True).waveform[0])
        if sum(map(len, parts)) > 40 * _SECONDS * _RATE:
            break
    mono = np.concatenate(parts) if parts else np.empty(0, np.float32)
    if len(mono) < 2 * _SECONDS * _RATE:
        raise UsageError(f"{args.sounds} holds less than {2 * _SECONDS} s of sound: give more.")
    return np.stack([mono, 0.8 * mono + 0.1 * np.roll(mono, 40)], 1).clip(-1, 1)


def _planning(count: int) -> tuple[float, float]:
    """Returns the seconds and MB of rows and their shards."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    rows = [
        ClipRow(file=f"audio/unbalanced/Y{number:011d}.wav", captions=(f"the sound of {number % 600}",))
        for number in range(count)
    ]
    planned = shards.plan(rows)
    spent = time.process_time() - started
    assert sum(len(shard.rows) for shard in planned) == count
    return spent, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3


def report(args: BenchmarkArgs) -> str:
    """Measures and returns Markdown."""
    unknown = set(args.kinds) - set(KINDS)
    if unknown:
        raise UsageError(f"There is no kind {listed(sorted(unknown))}: choose from {', '.join(KINDS)}.")
    planning = _planning(args.rows) if args.rows else None  # first, because only the peak of memory is known
    with tempfile.TemporaryDirectory() as folder:
        rates = [measure(args, kind, Path(folder)) for kind in args.kinds]
    lines = [rates_table(rates), "", extrapolation(rates, total=args.total)]
    if planning:
        seconds, megabytes = planning
        scale = args.total / args.rows
        lines += [
            "",
            f"Planning {args.rows:,} rows: {seconds:.1f} s, {megabytes:.0f} MB; {args.total:,} rows would "
            f"take {seconds * scale:.0f} s and {megabytes * scale / 1e3:.1f} GB.",
        ]
    return "\n".join(lines)


def rates_table(rates: Sequence[Rate]) -> str:
    """Returns a Markdown table of the measurements."""
    columns = ("source, 10 s stereo", "clips per second and core", "KB read per clip", "KB stored per clip")
    rows = []
    for rate in rates:
        sizes = [f"{size / 1e3:.0f}" for size in (rate.read_bytes, rate.stored_bytes)]
        rows.append([rate.kind, f"{rate.clips_per_core_second:.1f}", *sizes])
    return timing.markdown(columns, rows)


def extrapolation(rates: Sequence[Rate], *, total: int, cores: Sequence[int] = (1, 32, 96, 512)) -> str:
    """Returns a Markdown table of hours, size and read bandwidth, assuming that cores add up."""
    columns = (f"{total:,} clips from", "stored", *(f"{count} cores" for count in cores))
    rows = []
    for rate in rates:
        cells = [rate.kind, f"{total * rate.stored_bytes / 1e12:.2f} TB"]
        for count in cores:
            hours = total / rate.clips_per_core_second / count / 3600
            megabytes = rate.clips_per_core_second * count * rate.read_bytes / 1e6
            cells.append(f"{hours:.2g} h at {megabytes:,.0f} MB/s read")
        rows.append(cells)
    return timing.markdown(columns, rows)


if __name__ == "__main__":
    timing.run(report, BenchmarkArgs)
