"""`audiosep prepare`: a folder of sound becomes a dataset that training reads."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from audiosep_jax.errors import AudioSepError

if TYPE_CHECKING:
    from data_pipelines.builder import ClipBuilder


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrepareArgs:
    """Prepare clips as an ArrayRecord dataset.

    Unusable files are left out and named with the reason in the dataset's report.json.
    """

    dataset: tyro.conf.Positional[Literal["audio_folder", "esc50"]]
    """audio_folder: a folder with a CSV table (columns file, captions, optionally label, split, source and
    frames: images of the clip's video) or the JSON table of the PyTorch AudioSep. esc50: ESC-50, or ESC-10 in
    its folders; one split per fold."""
    source: Path
    """Folder of the sound files."""
    out: Path
    """Folder of the dataset to write."""
    metadata: Path | None = None
    """The table of the clips, where it is not in its usual place."""
    sample_rate_hz: int = 32_000
    """Rate of the stored sound; train models of the same rate with it."""
    source_column: str = "source"
    """audio_folder: the field that identifies the original recording of a clip."""
    validation_share: float = 0.0
    """audio_folder: share of the recordings for the split "validation", where the table names no splits."""
    max_failed_share: float = 0.05
    """Largest share of unusable files; above it nothing is written."""
    overwrite: bool = False
    """Replace what is at OUT."""


def run(args: PrepareArgs) -> int:
    """Prepares the dataset and prints what came of it; returns the exit status."""
    from data_pipelines.preparing import prepare

    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("preparing clips", total=None)

        def make_builder(data_dir: Path) -> "ClipBuilder":
            builder = _builder(args, data_dir, on_clip=lambda: progress.advance(task))
            progress.update(task, total=len(builder.rows))
            return builder

        report = prepare(make_builder, args.out, overwrite=args.overwrite)
    splits = ", ".join(f"{name} {count}" for name, count in sorted(report.prepared.items()))
    console.print(
        f"{args.out}: {sum(report.prepared.values())} of {report.total} clips prepared ({splits}), "
        f"{report.seconds / 60:.1f} minutes at {report.sample_rate_hz} Hz, {len(report.skipped)} skipped"
        + (f", {report.uncaptioned} without caption" if report.uncaptioned else "")
        + (f", {report.with_frames} with frames" if report.with_frames else "")
        + (f"; see {args.out / 'report.json'}" if report.skipped else ""),
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    return 0


def _builder(args: PrepareArgs, data_dir: Path, *, on_clip: Callable[[], None]) -> "ClipBuilder":
    from data_pipelines.audio_folder import AudioFolder
    from data_pipelines.esc50 import Esc50

    common = {
        "source": args.source,
        "metadata": args.metadata,
        "sample_rate_hz": args.sample_rate_hz,
        "max_failed_share": args.max_failed_share,
        "on_clip": on_clip,
        "data_dir": data_dir,
    }
    if args.dataset == "audio_folder":
        return AudioFolder(source_column=args.source_column, validation_share=args.validation_share, **common)
    if args.source_column != "source" or args.validation_share:
        raise AudioSepError("--source-column and --validation-share belong to audio_folder: leave them out.")
    return Esc50(**common)
