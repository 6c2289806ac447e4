"""`audiosep prepare`: a folder of sound becomes a dataset that training reads."""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from audiosep_jax.errors import UsageError
from data_pipelines.corpora import registry

if TYPE_CHECKING:
    from data_pipelines.prepare.build import AddFiles, MakeShards
    from data_pipelines.prepare.builder import ClipBuilder
    from data_pipelines.prepare.report import BuildReport

Name = Literal[
    "audio_folder",
    "audiocaps",
    "audioset",
    "clotho",
    "esc50",
    "fsd50k",
    "music",
    "vggsound",
    "voicebank_demand",
    "wavcaps",
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrepareArgs:
    """Prepare clips as an ArrayRecord dataset.

    The dataset's report.json names the files that a corpus has and that are not there, and those that cannot
    be used, with the reason. docs/datasets.md says where each corpus is got from and what its folder holds.
    """

    dataset: Annotated[tyro.conf.Positional[Name], tyro.conf.arg(metavar="NAME")]
    """A dataset of the list above."""
    source: Path
    """Folder of the sound files and their tables."""
    out: Path
    """Folder of the dataset to write."""
    metadata: Path | None = None
    """audio_folder, esc50: the table of the clips, where it is not in its usual place."""
    sample_rate_hz: int = 32_000
    """Rate of the stored sound; train models of the same rate with it."""
    source_column: str = "source"
    """audio_folder: the field that identifies the original recording of a clip."""
    validation_share: float = 0.0
    """audio_folder: share of the recordings for the split "validation", where the table names no splits."""
    splits: tuple[str, ...] = ()
    """Corpora: the splits to prepare, as the corpus calls them; by default all whose tables are there."""
    exclude: Path | None = None
    """Corpora: a file of recordings to leave out, such as those of a benchmark: identities of YouTube or
    Freesound, one a line, or JSON such as the blacklists of WavCaps."""
    licences: tuple[str, ...] = ()
    """clotho, fsd50k: only clips under these licences, of cc0, by, by-nc and sampling+."""
    frames: int = 0
    """music: images of each video to store."""
    noise: bool = False
    """voicebank_demand: prepare the noises too."""
    max_failed_share: float = 0.05
    """Largest share of unusable files, above which nothing is written. Missing files of a corpus are none."""
    workers: int | None = None
    """Clips that are read at the same time; by default one per processor. The result is the same."""
    clips_per_shard: int | None = None
    """Clips of one record file, of which an interruption loses at most one; by default 1,024 or more."""
    conditions: str = ""
    """Tower whose conditions of all captions are stored in the dataset, so that no training computes them:
    "sentence", or "clap:SOURCE" and "clip:SOURCE" as query.encoder and query.source say it."""
    beam: bool = False
    """Build on Apache Beam, which has other machines help; the result is the same. See docs/preparing.md."""
    beam_options: str = ""
    """Beam's own, such as "runner=FlinkRunner flink_master=host:8081"."""
    overwrite: bool = False
    """Replace what is at OUT."""


# tyro shows it as it stands, and the names are where the builders are.
PrepareArgs.__doc__ = "\n\n".join(
    (str(inspect.getdoc(PrepareArgs)), "NAME, and what its SOURCE holds:", registry.described())
)


def run(args: PrepareArgs) -> int:
    """Prepares the dataset and prints what came of it; returns the exit status."""
    options = _options(args)
    from data_pipelines.prepare.build import prepare

    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("reading tables", total=None)

        def make_builder(data_dir: Path) -> "ClipBuilder":
            builder = _builder(args, options, data_dir, on_clip=lambda: progress.advance(task))
            progress.update(task, total=len(builder.rows), description="preparing clips")
            return builder

        def on_resume(finished: int) -> None:
            progress.update(task, completed=finished)
            if finished:
                console.print(f"going on after {finished:,} clips that are done", highlight=False)

        report = prepare(
            make_builder,
            args.out,
            overwrite=args.overwrite,
            make_shards=_on_beam(args),
            on_resume=on_resume,
            add_files=_storing_conditions(args.conditions),
        )
    console.print(_summary(report, args.out), markup=False, highlight=False, soft_wrap=True)
    return 0


def _summary(report: "BuildReport", out: Path) -> str:
    splits = ", ".join(f"{name} {count}" for name, count in sorted(report.prepared.items()))
    return (
        f"{out}: {sum(report.prepared.values())} of {report.total} clips prepared ({splits}), "
        f"{report.seconds / 60:.1f} minutes at {report.sample_rate_hz} Hz, {len(report.skipped)} skipped"
        + (f", {len(report.missing)} missing" if report.missing else "")
        + (f", {report.uncaptioned} without caption" if report.uncaptioned else "")
        + (f", {report.with_frames} with frames" if report.with_frames else "")
        + (f"; see {out / 'report.json'}" if report.skipped or report.missing else "")
    )


def _options(args: PrepareArgs) -> dict[str, object]:
    """Returns what was given of the arguments that only some builders take."""
    defaults = {field.name: field.default for field in dataclasses.fields(args)}
    options = {name: getattr(args, name) for name in registry.OPTIONS}
    options = {name: value for name, value in options.items() if value != defaults[name]}
    registry.check_options(args.dataset, options)
    return options


def _storing_conditions(tower: str) -> "AddFiles | None":
    """Returns what stores the conditions of a tower; the tower is loaded now, so that it is there later."""
    if not tower:
        return None
    from audiosep_jax.config import QueryConfig
    from audiosep_jax.encoders import condition_files
    from audiosep_jax.encoders.base import load_encoder

    name, _, source = tower.partition(":")
    encoder = load_encoder(QueryConfig(encoder=name, source=source))
    return lambda folder, captions: condition_files.store(folder, encoder, captions)


def _on_beam(args: PrepareArgs) -> "MakeShards | None":
    """Returns what makes the shards on Beam, None where this process does."""
    if not args.beam:
        if args.beam_options:
            raise UsageError("--beam-options belongs to --beam: pass both, or neither.")
        return None
    from data_pipelines.prepare import beam as beam_build

    return functools.partial(beam_build.make_shards, options=beam_build.parse_options(args.beam_options))


def _builder(
    args: PrepareArgs, options: dict[str, object], data_dir: Path, *, on_clip: Callable[[], None]
) -> "ClipBuilder":
    return registry.builder_class(args.dataset)(
        source=args.source,
        sample_rate_hz=args.sample_rate_hz,
        max_failed_share=args.max_failed_share,
        workers=args.workers,
        clips_per_shard=args.clips_per_shard,
        on_clip=on_clip,
        data_dir=data_dir,
        **options,
    )
