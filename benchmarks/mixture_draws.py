"""Speed of drawing mixtures, and how many hold two clips with one caption, expected and counted.

Run `python -m benchmarks.mixture_draws --table clips.csv` with a table for `audiosep prepare audio_folder`,
or without one for a synthetic corpus whose captions are as uneven as words. No sound is decoded.
"""

import csv
import dataclasses
import time
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from audiosep_jax.config import MixtureConfig
from audiosep_jax.config.data import CollisionRule
from benchmarks import timing
from data_pipelines.mixtures.clip_index import Clip
from data_pipelines.mixtures.clip_table import ClipTable
from data_pipelines.mixtures.draws import DrawSource

_RATE_HZ = 32_000
_SAMPLES = 10 * _RATE_HZ


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchmarkArgs:
    """Draw mixtures and count those that hold two clips with one caption."""

    table: Path | None = None
    """A CSV file with the columns file, captions (separated by |) and, if there are any, label."""
    clips: int = 100_000
    """Size of the synthetic corpus."""
    mixtures: int = 100_000
    """Number of mixtures for each rule."""
    sources: int = 2
    """Clips per mixture."""
    batch_size: int = 96
    """Mixtures per batch."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """Mixtures of two clips with one caption, and CPU times, for one set of rules.

    `table_seconds` is the time to number the clips' names and to check that all can be mixed.
    """

    collisions: int
    draws_per_second: float
    table_seconds: float


def expected_share(clips: list[Clip]) -> float:
    """Returns the share of ordered pairs of two different clips that have a caption in common."""
    alike = Counter(_captions(clip) for clip in clips)
    bearing: defaultdict[str, set[frozenset[str]]] = defaultdict(set)
    for captions in alike:
        for caption in captions:
            bearing[caption].add(captions)
    pairs = 0
    for captions, count in alike.items():
        meeting = {other for caption in captions for other in bearing[caption]}
        pairs += count * (sum(alike[other] for other in meeting) - 1) if meeting else 0
    return pairs / (len(clips) * (len(clips) - 1))


def measure(clips: list[Clip], mixture: MixtureConfig, *, mixtures: int, batch_size: int) -> Result:
    """Draws mixtures and counts collisions of captions, from the captions themselves."""
    began = time.process_time()
    table = ClipTable([clips], mixture)
    draws = DrawSource(table, mixture, sample_rate_hz=_RATE_HZ, batch_size=batch_size, seed=0)
    draws.draw(0, 0)  # computes the order of the first epoch
    ready = time.process_time()
    used = [[crop.clip for crop in drawn.crops] for drawn in map(draws.__getitem__, range(mixtures))]
    done = time.process_time()
    captions = [_captions(clip) for clip in clips]
    collisions = sum(
        sum(len(captions[clip]) for clip in group)
        > len(frozenset().union(*(captions[clip] for clip in group)))
        for group in used
    )
    return Result(
        collisions=collisions, draws_per_second=mixtures / (done - ready), table_seconds=ready - began
    )


def make_corpus(count: int) -> list[Clip]:
    """Returns synthetic clips with one caption each; the frequency of the n-th caption is 1 / n."""
    kinds = max(2, count // 10)
    shares = 1 / np.arange(1, kinds + 1)
    drawn = np.random.default_rng(0).choice(kinds, size=count, p=shares / shares.sum()).tolist()
    return [_clip(str(number), (f"caption number {kind}",)) for number, kind in enumerate(drawn)]


def read_corpus(path: Path) -> list[Clip]:
    """Reads the captions and labels of a table."""
    with path.open(encoding="utf-8", newline="") as file:
        return [
            _clip(
                row["file"],
                tuple(filter(None, map(str.strip, row["captions"].split("|")))),
                row.get("label", ""),
            )
            for row in csv.DictReader(file)
        ]


def _clip(name: str, captions: tuple[str, ...], label: str = "") -> Clip:
    return Clip(id=name, label=label, captions=captions, source=name, samples=_SAMPLES, active=(0, _SAMPLES))


def _captions(clip: Clip) -> frozenset[str]:
    return frozenset(" ".join(caption.lower().split()) for caption in clip.captions)


def report(args: BenchmarkArgs) -> str:
    """Measures with and without the rules, and returns a table."""
    clips = read_corpus(args.table) if args.table else make_corpus(args.clips)
    share = expected_share(clips)
    pairs = args.sources * (args.sources - 1) // 2
    title = (
        f"{args.mixtures:,} mixtures of {args.sources} from {len(clips):,} clips. Two clips have a caption "
        f"in common with probability {share:.5f}: {args.mixtures * pairs * share:,.0f} pairs expected"
    )
    columns = ("collisions", "with one caption", "draws per second and core", "table ready after (s)")
    rows = []
    recipes: tuple[tuple[CollisionRule, ...], ...] = ((), ("caption",), ("caption", "label"))
    for rules in recipes:
        mixture = MixtureConfig(sources=args.sources, collisions=rules)
        found = measure(clips, mixture, mixtures=args.mixtures, batch_size=args.batch_size)
        counted, speed = f"{found.collisions:,}", f"{found.draws_per_second:,.0f}"
        rows.append([", ".join(rules) or "none", counted, speed, f"{found.table_seconds:.2f}"])
    return f"{title}\n\n{timing.markdown(columns, rows)}"


if __name__ == "__main__":
    timing.run(report, BenchmarkArgs)
