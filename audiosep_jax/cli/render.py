"""`audiosep render`: clips become a corpus of mixtures, the same bytes for everyone."""

import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from audiosep_jax.errors import DatasetError, UsageError

if TYPE_CHECKING:
    from data_pipelines.render.manifest import Manifest
    from data_pipelines.render.recipe import Clip, Recipe


@dataclasses.dataclass(frozen=True, kw_only=True)
class RenderArgs:
    """Render mixtures of clips as a corpus for `audiosep benchmark`, or render one again from its manifest.

    Writes OUT/segment-0.wav (the target), OUT/mixture-0.wav and so on, the list NAME_eval.csv as the
    PyTorch AudioSep has it, and manifest.json. Interrupted, it goes on when called again; called again on
    a complete corpus, it checks every file.
    """

    dataset: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="DATASET")] = None
    """How the clips are laid out: a name that `audiosep prepare` knows, such as audio_folder or esc50."""
    source: Path
    """Folder of the clips."""
    out: Path
    """Folder of the corpus."""
    manifest: Annotated[Path | None, tyro.conf.arg(name="from", metavar="MANIFEST")] = None
    """Render the corpus of this manifest again and check every byte, in place of all but --workers."""
    name: str | None = None
    """Of the corpus and its list; without it the name of OUT."""
    metadata: Path | None = None
    """audio_folder, esc50: the table of the clips, where it is not in its usual place."""
    exclude: Path | None = None
    """Corpora: a file of recordings to leave out."""
    splits: tuple[str, ...] = ()
    """Only clips of these splits."""
    query: Literal["caption", "label"] = "caption"
    """Ask for a target by one of its captions or by its class."""
    per_class: int = 0
    """Mixtures for each class as the target."""
    count: int = 0
    """Mixtures in all, in place of --per-class."""
    sources: tuple[int, ...] = (2,)
    """Sounds in a mixture, the target among them, 2 to 5; several numbers take turns."""
    snr: tuple[float, ...] = (0.0,)
    """Energy of the target over that of all others in dB; several values take turns."""
    snr_range: tuple[float, float] | None = None
    """Lowest and highest in dB, in place of --snr."""
    seconds: float = 10.0
    """Length of a mixture."""
    sample_rate_hz: int = 32_000
    """Rate of the files."""
    seed: int = 0
    """Of all draws."""
    encoding: Literal["PCM_16", "FLOAT"] = "PCM_16"
    """Of the files: 16-bit integers or 32-bit floating point."""
    workers: int = 1
    """Threads; the bytes do not depend on them."""


def run(args: RenderArgs) -> int:
    """Renders and prints what came of it; returns the exit status."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    if (args.dataset is None) == (args.manifest is None):
        raise UsageError("give the name of a dataset to render mixtures of, or --from a manifest.")
    if args.manifest is None:
        clips, missing = _clips(args)
        if missing:
            console.print(f"{missing} clips have no file and are left out", highlight=False)
    else:
        clips = []
        _check_alone(args)
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("rendering mixtures", total=None)
        manifest = _render(args, clips, lambda done, total: bar.update(task, completed=done, total=total))
    console.print(
        f"{args.out}: {len(manifest.mixtures)} mixtures of {len(manifest.sources)} clips, "
        f"digest {manifest.digest}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    return 0


def _render(args: RenderArgs, clips: "list[Clip]", progress: Callable[[int, int], None]) -> "Manifest":
    from data_pipelines.prepare.video import read_sound
    from data_pipelines.render.corpus import render_corpus
    from data_pipelines.render.from_manifest import render_from_manifest

    def hear(path: Path, sample_rate_hz: int) -> Any:
        return read_sound(path, sample_rate_hz=sample_rate_hz)

    common = {
        "root": args.source,
        "out": args.out,
        "workers": args.workers,
        "hear": hear,
        "progress": progress,
    }
    if args.manifest is not None:
        return render_from_manifest(args.manifest, **common)
    name = args.name if args.name is not None else args.out.resolve().name
    return render_corpus(clips, _recipe(args), name=name, **common)


def _recipe(args: RenderArgs) -> "Recipe":
    from data_pipelines.render.recipe import Recipe

    return Recipe(
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


def _check_alone(args: RenderArgs) -> None:
    """Refuses what the manifest says already."""
    defaults = {field.name: field.default for field in dataclasses.fields(args)}
    given = [
        "--" + name.replace("_", "-")
        for name, default in defaults.items()
        if name not in ("dataset", "source", "out", "manifest", "workers") and getattr(args, name) != default
    ]
    if given:
        raise UsageError(f"{', '.join(given)}: a manifest says that already; leave it out with --from.")


def _clips(args: RenderArgs) -> "tuple[list[Clip], int]":
    """The clips of the dataset whose files are there, and how many are not."""
    from data_pipelines.corpora import registry
    from data_pipelines.render.recipe import Clip

    _recipe(args)  # what is wrong with it is said before a table is read
    if args.dataset not in registry.DATASETS:
        raise UsageError(
            f"there is no dataset {args.dataset!r}: choose one of {', '.join(registry.DATASETS)}."
        )
    takes_splits = "splits" in registry.DATASETS[args.dataset].options
    given = {
        "metadata": args.metadata,
        "exclude": args.exclude,
        "splits": args.splits if takes_splits and args.splits else None,
    }
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    registry.check_options(args.dataset, options)
    with tempfile.TemporaryDirectory() as folder:  # the builder asks for a place, and only lists here
        builder = registry.builder_class(args.dataset)(source=args.source, data_dir=folder, **options)
    rows = [row for row in builder.rows if not args.splits or takes_splits or row.split in args.splits]
    if not rows:
        known = ", ".join(sorted({row.split for row in builder.rows}))
        raise DatasetError(f"{args.source} has no clip of {', '.join(args.splits)}: its splits are {known}.")
    there = [row for row in rows if (args.source / row.file).is_file()]
    clips = [
        Clip(
            file=row.file,
            labels=row.labels or ((row.label,) if row.label else ()),
            captions=row.captions,
            recording=row.source,
        )
        for row in there
    ]
    return clips, len(rows) - len(there)
