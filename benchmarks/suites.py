"""Speed of `audiosep benchmark`, compared with measuring one file at a time.

Run `python -m benchmarks.suites --mixtures 200`. The mixtures are made once from pairs of recordings below
--sounds, in the layout of the reference's ESC-50 list. Both ways measure the same files in turns, so that
other work on the machine slows both. "One file at a time" is the reference's way: read, separate, measure,
next. Finished work is kept in --workdir; a run that was interrupted resumes there.
"""

import csv
import dataclasses
import functools
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

import audiosep_jax
from audiosep_jax.audio.reading import read_audio
from audiosep_jax.audio.writing import write_audio
from audiosep_jax.evals.suites import measure, plan
from audiosep_jax.evals.suites.compiled_model import default_batch_size, make_model
from audiosep_jax.evals.suites.definitions import SUITES
from audiosep_jax.evals.suites.journal import Journal
from audiosep_jax.evals.suites.mixtures import Mixture, Row, given_samples, read_sound
from audiosep_jax.evals.suites.runner import Model, measure_batches
from audiosep_jax.models import separator
from audiosep_jax.utils.atomic import make_folder, replacing
from benchmarks import timing

SUITE = SUITES["audiosep"]
DATASET = next(dataset for dataset in SUITE.datasets if dataset.name == "esc50")


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchmarkArgs:
    """Measure mixtures by the benchmark and one file at a time."""

    mixtures: int = 200
    """Number of mixtures."""
    seconds: float = 10.0
    """Length of each."""
    sounds: Path = timing.DEMO
    """Folder of recordings, in any depth."""
    workdir: Path = Path("runs/benchmark_suites")
    """Folder of mixtures and times."""
    checkpoint: Path | None = None
    """Folder of the model; without it the bundled one is measured."""
    part: int = 25
    """Mixtures per turn."""
    batch_size: int = 0
    """Rows in a batch; 0 takes the command's default."""


def fabricate(args: BenchmarkArgs) -> list[Mixture]:
    """Writes missing mixtures and the list of all; equal recordings give equal mixtures.

    Raises:
      UsageError: there are fewer than two recordings.
    """
    folder = make_folder(args.workdir / "esc50")
    found = sorted(
        path
        for path in args.sounds.rglob("*")
        if path.suffix.lower() in (".ogg", ".wav", ".flac") and path.is_file()
    )
    if len(found) < 2:
        raise audiosep_jax.UsageError(f"{args.sounds} holds {len(found)} recordings: two are needed.")
    rate = SUITE.measure_hz
    samples = round(args.seconds * rate)
    read = functools.lru_cache(maxsize=64)(lambda path: read_audio(path, sample_rate_hz=rate, mono=True))
    rows = []
    for index in range(args.mixtures):
        rng = np.random.default_rng(index)
        paths = [found[int(place)] for place in rng.choice(len(found), 2, replace=False)]
        rows.append([index, paths[0].stem, paths[0].name, paths[1].name])
        files = [folder / f"{kind}-{index}.wav" for kind in ("segment", "mixture")]
        if all(file.exists() for file in files):
            continue
        target, other = (np.resize(read(path).waveform[0], samples) for path in paths)
        for file, waveform in zip(files, (target, target + other), strict=True):
            write_audio(file, 0.5 * waveform, sample_rate_hz=rate)
    with replacing(args.workdir / "esc50_eval.csv") as temporary, temporary.open("w", newline="") as file:
        csv.writer(file).writerows([["idx", "caption", "src_wav", "noise_wav"], *rows])
    return plan.list_mixtures([DATASET], metadata=args.workdir, root=args.workdir)


def one_file_at_a_time(
    mixtures: Sequence[Mixture], model: Model, loaded: audiosep_jax.AudioSep
) -> dict[str, float]:
    """Measures as the reference does, but encodes each query once; returns SDRi by mixture."""
    plain, variables = _plain(loaded), jax.device_put(loaded.variables)
    texts = sorted({mixture.queries[0].text for mixture in mixtures})
    conditions = dict(zip(texts, model.encode(texts), strict=True))
    rates = {"measure_hz": SUITE.measure_hz, "model_hz": model.sample_rate_hz}
    values = {}
    for mixture in mixtures:
        sound = read_sound(mixture, full_band=False, **rates)
        condition = conditions[mixture.queries[0].text][None]
        estimate = np.asarray(plain(variables, sound.given[None], condition))[0]
        row = Row(mixture, mixture.queries[0])
        estimate = measure.at_measuring_rate(estimate, sound, **rates)
        measured = measure.measure(row, sound, estimate, measure_hz=SUITE.measure_hz, speech=False)
        values[mixture.id] = measured["sdri_db"]
    return values


def benchmarked(
    mixtures: Sequence[Mixture], model: Model, *, out: Path, batch_size: int, workers: int
) -> dict[str, float]:
    """Measures as the command does, with a journal; returns SDRi by mixture."""
    inventory = plan.take_inventory(
        mixtures,
        samples_of=functools.partial(
            given_samples, measure_hz=SUITE.measure_hz, model_hz=model.sample_rate_hz, full_band=False
        ),
        workers=workers,
    )
    plan.refuse_unusable(inventory)
    batches = plan.plan(inventory.samples, batch_size=batch_size, row_samples=model.row_samples)
    with Journal(out, {"part": mixtures[0].id}) as journal:
        measure_batches(
            batches, suite=SUITE, model=model, journal=journal, batch_size=batch_size, workers=workers
        )
        return {key[1]: values["sdri_db"] for key, values in journal.values.items()}


@functools.cache
def _plain(loaded: audiosep_jax.AudioSep):
    return jax.jit(functools.partial(separator.apply, loaded.config.model))


def report(args: BenchmarkArgs) -> str:
    """Measures each part both ways, and returns a table."""
    mixtures = fabricate(args)
    loaded = audiosep_jax.load(args.checkpoint)
    model, checkpoint = make_model(loaded.config, loaded.variables)
    workers = os.cpu_count() or 1
    batch_size = args.batch_size or default_batch_size(mixtures)
    # Compile and encode captions first: neither is part of the comparison.
    texts = sorted({mixture.queries[0].text for mixture in mixtures})
    known = dict(zip(texts, model.encode(texts), strict=True))
    model = dataclasses.replace(model, encode=lambda some: np.stack([known[text] for text in some]))
    warm = args.workdir / "warm"
    one_file_at_a_time(mixtures[:1], model, loaded)
    (warm / "rows.jsonl").unlink(missing_ok=True)
    benchmarked(mixtures[:1], model, out=warm, batch_size=batch_size, workers=workers)
    settings = f"{checkpoint[:12]}-{args.seconds:g}s-{args.part}-{batch_size}"
    lines, parts = [], range(0, len(mixtures), args.part)
    for start in parts:
        kept = args.workdir / "times" / f"{settings}-{start}.json"
        if not kept.exists():
            with replacing(kept) as temporary:
                temporary.write_text(
                    json.dumps(_part(args, mixtures, start, model, loaded, batch_size, workers))
                )
        lines.append(json.loads(kept.read_text()))
        print(f"{start + args.part} of {len(mixtures)}: {lines[-1]}", flush=True)
    return _table(lines, seconds=args.seconds, batch_size=batch_size, workers=workers)


def _part(args, mixtures, start, model, loaded, batch_size, workers) -> dict[str, float]:
    some = mixtures[start : start + args.part]
    out = args.workdir / "rows" / str(start)
    (out / "rows.jsonl").unlink(missing_ok=True)

    def batched() -> dict[str, float]:
        return benchmarked(some, model, out=out, batch_size=batch_size, workers=workers)

    def single() -> dict[str, float]:
        return one_file_at_a_time(some, model, loaded)

    times, values = {}, {}
    # Alternate which way is first.
    ways = [("benchmark", batched), ("one file at a time", single)]
    for name, way in ways if start // args.part % 2 else reversed(ways):
        began, cpu = time.perf_counter(), time.process_time()
        values[name] = way()
        times[name] = time.perf_counter() - began
        times[f"{name}, core"] = time.process_time() - cpu
    largest = max(abs(values["benchmark"][key] - one) for key, one in values["one file at a time"].items())
    return {"mixtures": len(some), "difference_db": largest, **times}


def _table(parts: Sequence[dict[str, float]], *, seconds: float, batch_size: int, workers: int) -> str:
    mixtures = sum(part["mixtures"] for part in parts)
    rows = []
    for name in ("benchmark", "one file at a time"):
        each = timing.spread([part[name] / part["mixtures"] for part in parts], "{:.3f}".format)
        core = sum(part[f"{name}, core"] for part in parts) / mixtures
        rows.append([name, *each, f"{core:.3f}", f"{sum(part[name] for part in parts):.0f} s"])
    ratios = [part["one file at a time"] / part["benchmark"] for part in parts]
    return (
        f"{mixtures:.0f} mixtures of {seconds:g} s, batches of {batch_size}, {workers} threads; seconds per "
        f"mixture over {len(parts)} parts:\n\n"
        f"{timing.markdown(('', 'min', 'median', 'max', 'core-seconds per mixture', 'all'), rows)}\n\n"
        f"One file at a time takes {' / '.join(timing.spread(ratios, '{:.2f}'.format))} times as long "
        "(min / median / max of the parts).\n"
        f"Largest difference of an SDRi: {max(part['difference_db'] for part in parts):.1e} dB."
    )


if __name__ == "__main__":
    timing.run(report, BenchmarkArgs)
