"""`audiosep show`: pictures and a page, of a separation (with players), of trainings, of an evaluation."""

import dataclasses
import itertools
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import tyro

from audiosep_jax.errors import UsageError, printable

if TYPE_CHECKING:
    import jax

    from audiosep_jax.evals.evaluate import EvaluationResult
    from audiosep_jax.evals.picked_examples import Example
    from audiosep_jax.reports.excerpt import Excerpt
    from audiosep_jax.reports.separation_page import SeparatedMixture

_SECONDS = 20.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class SeparationArgs:
    """Separate a mixture with several queries, and see and hear what each extracted.

    Writes spectrograms.png (mixture, targets, estimates on one scale) and report.html with players:

    audiosep show separation street.wav --query "a dog barks" "rain falling" --out seen
    """

    mixture: Annotated[Path, tyro.conf.arg(metavar="MIXTURE"), tyro.conf.Positional]
    """The recording: WAV, FLAC, OGG, MP3 and others."""
    query: Annotated[tuple[tuple[str, ...], ...], tyro.conf.arg(metavar="TEXT..."), tyro.conf.UseAppendAction]
    """Sentences that describe the sounds to extract, each on its own; may be given again."""
    target: Annotated[
        tuple[tuple[Path, ...], ...], tyro.conf.arg(metavar="FILE..."), tyro.conf.UseAppendAction
    ]
    """The true sounds, where they are known: one per query, in the order of the queries. Fewer belong to the
    first queries. They are shown, and SDR is measured."""
    out: Path = Path("seen")
    """Folder for the page and the pictures; it is created."""
    checkpoint: Annotated[str | None, tyro.conf.arg(metavar="FOLDER|ORG/NAME")] = None
    """Folder of the model, or org/name on the Hugging Face hub; without it the bundled one separates."""
    seconds: float | None = None
    """Of a longer recording, how much from its beginning is separated and shown. Without it 20 s, or less
    where a page with so many queries would get too large."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunArgs:
    """See how one or several trainings went, while they run or afterwards.

    Writes loss.png, validation.png, course.png (learning rate, gradient norm, waiting for data, examples per
    second) and report.html with all of them and the numbers.
    """

    workdir: Annotated[tuple[str, ...], tyro.conf.arg(metavar="WORKDIR..."), tyro.conf.Positional]
    """Work directories of trainings, here or gs://…; several are drawn over each other."""
    out: Path = Path("seen")
    """Folder for the page and the pictures; it is created."""
    smooth: int | None = None
    """Neighbouring records that the line of the loss averages; 1 for none. Without it a twentieth of the
    records of a run."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationArgs:
    """See what a model reached: bars per class with intervals, the distribution, and all numbers.

    Writes classes.png, distribution.png and report.html. With the set and the sounds of the evaluation, the
    mixtures of highest, median and lowest SDRi are separated once more, drawn, and played in the page.
    """

    folder: Annotated[Path, tyro.conf.arg(metavar="FOLDER"), tyro.conf.Positional]
    """What `audiosep evaluate` wrote: the folder of result.json."""
    out: Path = Path("seen")
    """Folder for the page and the pictures; it is created."""
    evaluation_set: Path | None = None
    """JSON file of the set that was evaluated, to hear mixtures of it; --root belongs to it."""
    root: Path | None = None
    """Folder that the set's file names start from."""
    checkpoint: Annotated[str | None, tyro.conf.arg(metavar="FOLDER|ORG/NAME")] = None
    """The model that was evaluated: a folder, or org/name on the Hugging Face hub; without it the bundled
    one. Only with --evaluation-set."""


ShowArgs = (
    Annotated[SeparationArgs, tyro.conf.subcommand("separation")]
    | Annotated[RunArgs, tyro.conf.subcommand("run")]
    | Annotated[EvaluationArgs, tyro.conf.subcommand("evaluation")]
)
"""What is to be seen; the command line takes it as a word of its own."""


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

    remote = [storage.is_remote(folder) for folder in args.workdir]
    places = [
        folder if there else os.path.abspath(folder)
        for folder, there in zip(args.workdir, remote, strict=True)
    ]
    runs = [
        # A folder here is not made by looking for it; a bucket has no folders to make.
        read_run(storage.work_directory(place) if there else Path(place), name=name)
        for place, there, name in zip(places, remote, names(places), strict=True)
    ]
    return write_runs(runs, args.out, smooth=args.smooth)


def _evaluation(args: EvaluationArgs) -> list[Path]:
    if (args.evaluation_set is None) != (args.root is None):
        raise UsageError("--evaluation-set and --root belong together: give both, or none.")
    if args.checkpoint is not None and args.evaluation_set is None:
        raise UsageError("--checkpoint needs --evaluation-set and --root: it separates mixtures of the set.")
    from audiosep_jax.reports.evaluation_page import write_evaluation
    from audiosep_jax.reports.result_file import read_result, read_spectrograms

    result = read_result(args.folder)
    if args.evaluation_set is None or args.root is None:
        return write_evaluation(result, args.out, spectrograms=read_spectrograms(args.folder))
    examples = _examples(result, args.evaluation_set, root=args.root, checkpoint=args.checkpoint)
    return write_evaluation(result, args.out, examples=examples)


def _examples(
    result: "EvaluationResult", evaluation_set: Path, *, root: Path, checkpoint: str | None
) -> dict[str, "Example"]:
    import jax.numpy as jnp

    import audiosep_jax
    from audiosep_jax.encoders.base import load_encoder
    from audiosep_jax.evals.evaluation_set import check_files, load_evaluation_set
    from audiosep_jax.evals.picked_examples import separate_picked
    from audiosep_jax.reports.result_file import check_belongs, check_reproduced

    loaded = load_evaluation_set(evaluation_set)
    check_belongs(result, loaded)
    check_files(loaded, root)
    model = audiosep_jax.load(checkpoint)
    if model.sample_rate_hz != result.model_sample_rate_hz:
        raise UsageError(
            f"the evaluated model works at {result.model_sample_rate_hz} Hz, and "
            f"{checkpoint or 'the bundled one'} at {model.sample_rate_hz} Hz: give the evaluated one "
            "as --checkpoint."
        )

    def apply(mixture: np.ndarray, condition: np.ndarray) -> "jax.Array":
        return model.apply(jnp.asarray(mixture), jnp.asarray(condition))

    examples = dict(
        separate_picked(
            result,
            evaluation_set=loaded,
            root=root,
            apply=apply,
            encode=load_encoder(model.config.query).encode,
            batch_size=1,
        )
    )
    check_reproduced(examples)
    return examples


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

    from audiosep_jax.reports.separation_page import write_separation
    from audiosep_jax.utils.atomic import make_folder

    make_folder(args.out)
    return write_separation(_separated(args, queries, excerpt, known), args.out)


def _separated(
    args: SeparationArgs, queries: tuple[str, ...], excerpt: "Excerpt", targets: list[np.ndarray]
) -> "SeparatedMixture":
    from rich.console import Console
    from rich.progress import Progress

    import audiosep_jax
    from audiosep_jax.reports.separation_page import Answer, SeparatedMixture

    model = audiosep_jax.load(args.checkpoint)
    # An unusable query ends the command before any work.
    conditions = [model.condition(query=query) for query in queries]
    answers = []
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("separating", total=len(queries))
        for query, condition, target in itertools.zip_longest(queries, conditions, targets):
            found = model.separate(excerpt.waveform, excerpt.sample_rate_hz, condition=condition)
            answers.append(
                Answer(query=query, estimate=found.estimate, residual=found.residual, target=target)
            )
            bar.advance(task)
    return SeparatedMixture(
        name=args.mixture.name,
        model=model.config.name,
        waveform=excerpt.waveform,
        sample_rate_hz=excerpt.sample_rate_hz,
        cut=excerpt.cut,
        answers=tuple(answers),
    )
