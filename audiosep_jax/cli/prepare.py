"""`audiosep prepare`: turns a folder of sound files into a dataset for training."""

import dataclasses
import functools
import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from rich.console import Console

from audiosep_jax.errors import UsageError
from audiosep_jax.utils.progress import progress_bar
from data_pipelines.corpora import registry

if TYPE_CHECKING:
    from data_pipelines.prepare.build import AddFiles, MakeShards
    from data_pipelines.prepare.builder import ClipBuilder

Name = Literal[tuple(registry.DATASETS)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrepareArgs:
    """Prepare clips as an ArrayRecord dataset.

    The dataset's report.json lists the missing files of a corpus and the files that cannot be used, with the
    reason. docs/datasets.md says where to get each corpus and what its folder must hold.
    """

    dataset: Annotated[tyro.conf.Positional[Name], tyro.conf.arg(metavar="NAME")]  # pyright: ignore
    """A name of the list above."""
    source: Path | None = None
    """Folder of the sound files and their tables."""
    out: Path | None = None
    """Folder of the dataset to write."""
    metadata: Path | None = None
    """audio_folder, esc50: the table of the clips, if it is not in its usual place."""
    sample_rate_hz: int = 32_000
    """Sample rate of the stored sound; a model must be trained at the same rate."""
    source_column: str = "source"
    """audio_folder: the field that identifies the original recording of a clip."""
    validation_share: float = 0.0
    """audio_folder: share of the recordings for the split "validation", if the table names no splits."""
    splits: tuple[str, ...] = ()
    """Corpora: the splits to prepare, as the corpus calls them; by default all splits whose tables exist."""
    exclude: Path | None = None
    """Corpora: a file of recordings to leave out, such as those of a benchmark: identities of YouTube or
    Freesound, one a line, or JSON such as the blacklists of WavCaps."""
    licences: tuple[str, ...] | None = None
    """clotho, fsd50k: only clips under these licences, of cc0, by, by-nc and sampling+. open_sounds: the same
    with its own licences; without any, list them and exit."""
    download: bool = False
    """open_sounds: get missing packages into SOURCE with apt-get."""
    clips: Path | None = None
    """open_sounds: a folder for the clips as FLAC files."""
    frames: int = 0
    """music: images of each video to store."""
    noise: bool = False
    """voicebank_demand: prepare the noises too."""
    max_failed_share: float = 0.05
    """Largest share of unusable files; above it nothing is written. A corpus's missing files do not count."""
    workers: int | None = None
    """Clips that are read at the same time; by default one per processor. The result is the same."""
    clips_per_shard: int | None = None
    """Clips per record file; an interruption loses at most one file. By default 1,024 or more."""
    conditions: str = ""
    """Query encoder; the conditions of all captions are stored in the dataset, so that no training computes
    them: "sentence", or "clap:SOURCE" and "clip:SOURCE" (ENCODER:SOURCE of the experiment's query)."""
    beam: bool = False
    """Build on Apache Beam, on several machines; the result is the same. See docs/preparing.md."""
    beam_options: str = ""
    """Options of Beam, such as "runner=FlinkRunner flink_master=host:8081"."""
    overwrite: bool = False
    """Replace what is at OUT."""


# tyro prints the docstring as it is; the registry knows the names.
PrepareArgs.__doc__ = "\n\n".join(
    (str(inspect.getdoc(PrepareArgs)), "NAME, and what its SOURCE holds:", registry.described())
)


def run(args: PrepareArgs) -> int:
    """Prepares the dataset and prints a summary; returns the exit status."""
    options = _options(args)
    if args.licences == ():
        return _list_licences(args.dataset)
    source, out = args.source, args.out
    if source is None or out is None:
        raise UsageError(f"Give --source and --out: the folder of {args.dataset}, and that of the dataset.")
    from data_pipelines.prepare.build import prepare

    console = Console()
    with progress_bar(console) as progress:
        task = progress.add_task("reading tables", total=None)

        def make_builder(data_dir: Path) -> "ClipBuilder":
            builder = registry.builder_class(args.dataset)(
                source=source,
                sample_rate_hz=args.sample_rate_hz,
                max_failed_share=args.max_failed_share,
                workers=args.workers,
                clips_per_shard=args.clips_per_shard,
                on_clip=lambda: progress.advance(task),
                data_dir=data_dir,
                **options,
            )
            progress.update(task, total=len(builder.rows), description="preparing clips")
            return builder

        def on_resume(finished: int) -> None:
            progress.update(task, completed=finished)
            if finished:
                console.print(f"resuming after {finished:,} finished clips", highlight=False)

        report = prepare(
            make_builder,
            out,
            overwrite=args.overwrite,
            make_shards=_on_beam(args),
            on_resume=on_resume,
            add_files=_storing_conditions(args.conditions),
        )
    console.print(f"{out}: {report.summary(out)}", markup=False, highlight=False, soft_wrap=True)
    return 0


def _options(args: PrepareArgs) -> dict[str, object]:
    """Returns the given arguments that only some builders take."""
    options = {
        field.name: getattr(args, field.name)
        for field in dataclasses.fields(args)
        if field.name in registry.OPTIONS and getattr(args, field.name) != field.default
    }
    registry.check_options(args.dataset, options)
    return options


def _list_licences(dataset: str) -> int:
    """Prints the licences of a corpus whose table this package holds."""
    if dataset != "open_sounds":
        raise UsageError(f"--licences of {dataset} needs at least one licence: name those that you accept.")
    from data_pipelines.corpora.open_sounds import table

    for line in table.licence_lines():
        print(line)
    return 0


def _storing_conditions(tower: str) -> "AddFiles | None":
    """Returns a function that stores conditions; a missing encoder is an error now, before any work."""
    if not tower:
        return None
    from audiosep_jax.config import QueryConfig
    from audiosep_jax.encoders import condition_files
    from audiosep_jax.encoders.base import load_encoder

    name, _, source = tower.partition(":")
    encoder = load_encoder(QueryConfig(encoder=name, source=source))
    return lambda folder, captions: condition_files.store(folder, encoder, captions)


def _on_beam(args: PrepareArgs) -> "MakeShards | None":
    """Returns the function that makes shards on Beam; None if this process makes them."""
    if not args.beam:
        if args.beam_options:
            raise UsageError("--beam-options belongs to --beam: give both, or neither.")
        return None
    from data_pipelines.prepare import beam as beam_build

    return functools.partial(beam_build.make_shards, options=beam_build.parse_options(args.beam_options))
