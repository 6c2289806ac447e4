"""`audiosep render`: makes a corpus of mixtures from clips, the same bytes on every machine."""

import dataclasses
import functools
from pathlib import Path
from typing import Annotated, Literal

import tyro

from audiosep_jax.cli.flags import given_flags
from audiosep_jax.errors import UsageError


@dataclasses.dataclass(frozen=True, kw_only=True)
class RenderArgs:
    """Render mixtures of clips as a corpus for `audiosep benchmark`, or render one again from its manifest.

    Writes OUT/segment-0.wav (the target), OUT/mixture-0.wav and so on, the list NAME_eval.csv as the
    PyTorch AudioSep has it, and manifest.json. Called again, it resumes an interrupted corpus, and checks
    every file of a complete one.
    """

    dataset: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="DATASET")] = None
    """How the clips are laid out: a name that `audiosep prepare` knows, such as audio_folder or esc50."""
    source: Path
    """Folder of the clips."""
    out: Path
    """Folder of the corpus."""
    manifest: Annotated[Path | None, tyro.conf.arg(name="from", metavar="MANIFEST")] = None
    """Render the corpus of this manifest again and check every byte; the manifest replaces all options but
    --source, --out and --workers."""
    name: str | None = None
    """Name of the corpus and its list; by default the name of OUT."""
    metadata: Path | None = None
    """audio_folder, esc50: the table of the clips, if it is not in its usual place."""
    exclude: Path | None = None
    """Corpora: a file of recordings to leave out."""
    splits: tuple[str, ...] = ()
    """Only clips of these splits."""
    query: Literal["caption", "label"] = "caption"
    """What describes a target: one of its captions, or its class."""
    per_class: int = 0
    """Mixtures for each class as the target."""
    count: int = 0
    """Mixtures in all, instead of --per-class."""
    sources: tuple[int, ...] = (2,)
    """Sounds in a mixture, 2 to 5, target included; several numbers alternate."""
    snr: tuple[float, ...] = (0.0,)
    """Energy of the target over the energy of all other sounds, in dB; several values alternate."""
    snr_range: tuple[float, float] | None = None
    """Lowest and highest energy ratio in dB, drawn uniformly, instead of --snr."""
    seconds: float = 10.0
    """Length of a mixture, in seconds."""
    sample_rate_hz: int = 32_000
    """Sample rate of the files."""
    seed: int = 0
    """Seed of all draws."""
    encoding: Literal["PCM_16", "FLOAT"] = "PCM_16"
    """Samples of the files: 16-bit integers, or 32-bit floating point."""
    workers: int = 1
    """Threads; the bytes do not depend on their number."""


def run(args: RenderArgs) -> int:
    """Renders and prints a summary; returns the exit status."""
    if (args.dataset is None) == (args.manifest is None):
        raise UsageError("give the name of a dataset to render mixtures of, or --from a manifest.")
    from rich.console import Console

    from audiosep_jax.utils.progress import counted
    from data_pipelines.prepare.video import read_sound
    from data_pipelines.render.clips import list_clips
    from data_pipelines.render.corpus import render_corpus
    from data_pipelines.render.from_manifest import render_from_manifest
    from data_pipelines.render.recipe import Recipe

    console = Console()
    if args.manifest is not None:
        if given := given_flags(args, without=("source", "out", "manifest", "workers")):
            raise UsageError(
                f"{', '.join(given)}: the manifest holds these values; remove the options, or --from."
            )
        render = functools.partial(render_from_manifest, args.manifest)
    else:
        recipe = Recipe(
            query=args.query,
            per_class=args.per_class,
            count=args.count,
            sources=args.sources,
            snrs_db=args.snr,
            snr_range_db=args.snr_range or (),
            seconds=args.seconds,
            sample_rate_hz=args.sample_rate_hz,
            seed=args.seed,
            encoding=args.encoding,
        )
        clips, missing = list_clips(
            args.dataset or "", args.source, metadata=args.metadata, exclude=args.exclude, splits=args.splits
        )
        if missing:
            console.print(f"{missing} clips have no file and are left out", highlight=False)
        name = args.name if args.name is not None else args.out.resolve().name
        render = functools.partial(render_corpus, clips, recipe, name=name)
    with counted("rendering mixtures", console=console) as progress:
        manifest = render(
            root=args.source,
            out=args.out,
            workers=args.workers,
            hear=lambda path, rate: read_sound(path, sample_rate_hz=rate),
            progress=progress,
        )
    console.print(
        f"{args.out}: {len(manifest.mixtures)} mixtures of {len(manifest.sources)} clips, "
        f"digest {manifest.digest}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    return 0
