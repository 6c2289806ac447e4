"""`audiosep show`: writes pictures and a page of a separation (with players), trainings or an evaluation."""

import dataclasses
import itertools
import math
import os
from pathlib import Path
from typing import Annotated

import tyro

from audiosep_jax.errors import UsageError, printable

_SECONDS = 20.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class SeparationArgs:
    """Make a page with the sound that each query extracts from a mixture: spectrograms and players.

    Writes spectrograms.png (mixture, targets, estimates on one scale) and report.html with players:

    audiosep show separation street.wav --query "a dog barks" "rain falling" --out report
    """

    mixture: Annotated[Path, tyro.conf.arg(metavar="MIXTURE"), tyro.conf.Positional]
    """The recording: WAV, FLAC, OGG, MP3 and others."""
    query: Annotated[tuple[tuple[str, ...], ...], tyro.conf.arg(metavar="TEXT..."), tyro.conf.UseAppendAction]
    """Sentences that describe the sounds to extract, one sound per sentence; may be repeated."""
    target: Annotated[
        tuple[tuple[Path, ...], ...], tyro.conf.arg(metavar="FILE..."), tyro.conf.UseAppendAction
    ]
    """The true sounds, if they are known, in the order of the queries: at most one per query. They are shown,
    and SDR is measured."""
    out: Path = Path("seen")
    """Folder for the page and the pictures; it is created."""
    checkpoint: Annotated[str | None, tyro.conf.arg(metavar="FOLDER|ORG/NAME")] = None
    """Folder of the model, or org/name on the Hugging Face hub; by default the bundled model."""
    seconds: float | None = None
    """Seconds from the beginning of a longer recording that are separated and shown. By default 20 s, or less
    if many queries would make the page too large."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunArgs:
    """Make a page with the curves of one or several trainings, while they run or afterwards.

    Writes loss.png, validation.png, course.png (learning rate, gradient norm, data wait, examples per
    second) and report.html with all of them and the numbers.
    """

    workdir: Annotated[tuple[str, ...], tyro.conf.arg(metavar="WORKDIR..."), tyro.conf.Positional]
    """Work directories of trainings, local or gs://…; several are drawn in one figure."""
    out: Path = Path("seen")
    """Folder for the page and the pictures; it is created."""
    smooth: int | None = None
    """Neighbouring records that the line of the loss averages; 1 averages none. By default a twentieth of the
    records of a run."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationArgs:
    """Make a page of an evaluation: bars per class with intervals, the distribution, and all numbers.

    Writes classes.png, distribution.png and report.html; for a set with kinds also kinds.png. With
    --evaluation-set and --root, the mixtures of highest, median and lowest SDRi (of each kind) are separated
    again and get spectrograms and players.
    """

    folder: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="FOLDER..."), tyro.conf.Positional]
    """Output folders of `audiosep evaluate`, which hold result.json. The page is about the first; the others,
    such as another set or model, get their tables below."""
    out: Path = Path("seen")
    """Folder for the page and the pictures; it is created."""
    evaluation_set: Path | None = None
    """JSON file of the set of the first folder, to play mixtures of it; needs --root."""
    root: Path | None = None
    """Folder that the set's file names start from."""
    checkpoint: Annotated[str | None, tyro.conf.arg(metavar="FOLDER|ORG/NAME")] = None
    """The evaluated model: a folder, or org/name on the Hugging Face hub; by default the bundled model. Needs
    --evaluation-set."""


ShowArgs = (
    Annotated[SeparationArgs, tyro.conf.subcommand("separation")]
    | Annotated[RunArgs, tyro.conf.subcommand("run")]
    | Annotated[EvaluationArgs, tyro.conf.subcommand("evaluation")]
)
"""The subcommands of `audiosep show`."""


def run(args: SeparationArgs | RunArgs | EvaluationArgs) -> int:
    """Writes the page, prints its path and those of the pictures; returns the exit status."""
    if isinstance(args, SeparationArgs):
        paths = _separation(args)
    elif isinstance(args, RunArgs):
        paths = _runs(args)
    else:
        paths = _evaluation(args)
    for path in paths:
        print(printable(path))
    return 0


def _runs(args: RunArgs) -> list[Path]:
    if not args.workdir:
        raise UsageError("No run was given: name at least one work directory.")
    if args.smooth is not None and args.smooth < 1:
        raise UsageError(f"--smooth is {args.smooth}: give a number of records from 1 on.")
    from audiosep_jax.reports.run_page import write_runs
    from audiosep_jax.reports.run_record import names, read_run
    from audiosep_jax.train import storage

    places = [each if storage.is_remote(each) else os.path.abspath(each) for each in args.workdir]
    runs = [
        # `work_directory` would create a local folder.
        read_run(storage.work_directory(place) if storage.is_remote(place) else Path(place), name=name)
        for place, name in zip(places, names(places), strict=True)
    ]
    return write_runs(runs, args.out, smooth=args.smooth)


def _evaluation(args: EvaluationArgs) -> list[Path]:
    if not args.folder:
        raise UsageError("No folder was given: name at least one output folder of audiosep evaluate.")
    if (args.evaluation_set is None) != (args.root is None):
        raise UsageError("--evaluation-set and --root belong together: give both, or none.")
    if args.checkpoint is not None and args.evaluation_set is None:
        raise UsageError("--checkpoint needs --evaluation-set and --root: it separates mixtures of the set.")
    import audiosep_jax
    from audiosep_jax.evals.evaluation_set import check_files, load_evaluation_set
    from audiosep_jax.reports.evaluation_page import write_evaluation
    from audiosep_jax.reports.result_file import check_belongs, read_evaluation, read_spectrograms
    from audiosep_jax.reports.separations import separate_examples

    evaluations = [read_evaluation(folder) for folder in args.folder]
    if args.evaluation_set is None or args.root is None:
        return write_evaluation(evaluations, args.out, spectrograms=read_spectrograms(args.folder[0]))
    result = evaluations[0].result
    evaluation_set = load_evaluation_set(args.evaluation_set)
    check_belongs(result, evaluation_set)
    check_files(evaluation_set, args.root)
    model = audiosep_jax.load(args.checkpoint)
    examples = separate_examples(model, result, evaluation_set, root=args.root)
    return write_evaluation(evaluations, args.out, examples=examples)


def _separation(args: SeparationArgs) -> list[Path]:
    from audiosep_jax.reports.excerpt import longest_seconds, read_excerpt, read_target

    queries = tuple(dict.fromkeys(itertools.chain.from_iterable(args.query)))
    targets = tuple(itertools.chain.from_iterable(args.target))
    if not queries:
        raise UsageError('No query was given: describe the sound, for example --query "a dog barks".')
    if len(targets) > len(queries):
        raise UsageError(
            f"{len(targets)} targets for {len(queries)} queries: give at most one --target per query."
        )
    if args.seconds is not None and not (math.isfinite(args.seconds) and args.seconds > 0):
        raise UsageError(f"--seconds is {args.seconds:g}: give a positive number of seconds.")
    sounds = 1 + 2 * len(queries) + len(targets)
    most = longest_seconds(args.mixture, sounds=sounds)
    if args.seconds is not None and args.seconds > most:
        raise UsageError(
            f"--seconds is {args.seconds:g}: a page of {sounds} sounds like {printable(args.mixture)} holds "
            f"at most {most:.1f} s of each; give fewer seconds or fewer queries."
        )
    excerpt = read_excerpt(
        args.mixture, seconds=min(_SECONDS, most) if args.seconds is None else args.seconds
    )
    known = [read_target(target, excerpt, mixture=args.mixture) for target in targets]

    from rich.console import Console

    import audiosep_jax
    from audiosep_jax.reports.separation_page import write_separation
    from audiosep_jax.reports.separations import separate_excerpt
    from audiosep_jax.utils.atomic import make_folder
    from audiosep_jax.utils.progress import counted

    make_folder(args.out)
    model = audiosep_jax.load(args.checkpoint)
    # An unusable query ends the command before any work.
    conditions = {query: model.condition(query=query) for query in queries}
    with counted("separating", console=Console(stderr=True), total=len(queries), transient=True) as progress:
        separated = separate_excerpt(
            model, excerpt, conditions, known, name=args.mixture.name, progress=progress
        )
    return write_separation(separated, args.out)
