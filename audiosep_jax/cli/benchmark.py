"""`audiosep benchmark`: what a model reaches on the benchmarks of the literature; two models side by side."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from audiosep_jax.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from audiosep_jax.evals.suites.measure import Scorer
    from audiosep_jax.evals.suites.mixtures import Mixture
    from audiosep_jax.evals.suites.runner import Model
    from audiosep_jax.separation.api import AudioSep


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchmarkArgs:
    """Measure a model on a suite, or compare two results: audiosep benchmark --compare OUT_A OUT_B.

    audiosep: AudioSet, VGGSound, AudioCaps, Clotho, MUSIC and ESC-50 as the AudioSep article mixes them.
    dcase: the validation set of DCASE 2024 Task 9. voicebank: the test set of VoiceBank-DEMAND, with PESQ,
    CSIG, CBAK, COVL, segmental SNR and STOI. rendered: a corpus of audiosep render. A run that was cut off
    goes on where it was.
    """

    suite: Literal["audiosep", "dcase", "voicebank", "rendered"] | None = None
    """Which benchmark."""
    root: Path | None = None
    """Folder of the sounds: with a folder per dataset (audiosep), with lass_validation/ (dcase), with
    clean_testset_wav/ and noisy_testset_wav/ (voicebank), or the corpus (rendered)."""
    metadata: Path | None = None
    """Folder of the lists: *_eval.csv, lass_synthetic_validation.csv, or log_testset.txt; without it they are
    looked for in --root."""
    out: Path | None = None
    """Folder for the results."""
    checkpoint: Annotated[str | None, tyro.conf.arg(metavar="FOLDER|ORG/NAME")] = None
    """Folder of the model, or org/name on the Hugging Face hub; without it the bundled one is measured."""
    datasets: tuple[str, ...] = ()
    """Only these datasets of the suite, such as "esc50 music"."""
    queries: Path | None = None
    """CSV file of further queries (columns id, query, and optionally kind and dataset): only the mixtures in
    it are measured, with the queries of the suite's own list and with these; a table compares the kinds."""
    kinds: tuple[str, ...] = ()
    """Only queries of these kinds, such as "caption label" of AudioCaps; the first stands for the dataset."""
    clap: Annotated[str | None, tyro.conf.arg(metavar="FOLDER|ORG/NAME")] = None
    """CLAP that adds CLAPScore and RefCLAPScore: a tower folder, or a model of transformers."""
    allow_missing: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Measure what is there and say in the results what is not."""
    batch_size: int = 0
    """Rows that are separated together; 0 takes the queries of one mixture on a CPU and 16 elsewhere."""
    workers: int = 0
    """Threads that read files and measure; 0 takes as many as there are cores, at most 16."""
    compare: tuple[Path, Path] | None = None
    """Two folders of results: what the second model gains over the first. With --out it is written there."""


def run(args: BenchmarkArgs) -> int:
    """Measures or compares, writes the results and prints the table; returns the exit status."""
    _check(args)
    if args.compare is not None:
        return _compare(args.compare, args.out)
    return _measure(args)


def make_model(model: "AudioSep") -> "tuple[Model, str]":
    """Returns a separator in the form that the benchmark runs, every length exact, and its fingerprint.

    Raises:
      AudioSepError: it has no query encoder, or its weights cannot be found.
    """
    import functools

    import jax

    from audiosep_jax.encoders.base import fingerprint, load_encoder
    from audiosep_jax.evals.suites.runner import Model
    from audiosep_jax.models.inference import ragged

    config = model.config.model
    variables = jax.device_put(model.variables)
    compiled = jax.jit(functools.partial(ragged.apply, config))
    encoder = load_encoder(model.config.query)
    # Whatever a result depends on: the model's shape, its weights, and how a query becomes a condition.
    checkpoint = fingerprint((config,), tokenizer_hash=encoder.fingerprint, params=model.variables)
    separator = Model(
        apply=lambda mixture, condition, count: compiled(
            variables, *jax.device_put((mixture, condition, count))
        ),
        encode=encoder.encode,
        row_samples=functools.partial(ragged.batch_samples, config),
        sample_rate_hz=model.sample_rate_hz,
    )
    return separator, checkpoint


def default_batch_size(mixtures: "Sequence[Mixture]") -> int:
    """Returns how many rows are separated together where nobody says it."""
    import jax

    # A CPU gains nothing from several rows; the queries of one mixture are together for one reading of it.
    return max(len(mixture.queries) for mixture in mixtures) if jax.default_backend() == "cpu" else 16


def _check(args: BenchmarkArgs) -> None:
    if args.compare is not None:
        given = [
            "--" + field.name.replace("_", "-")
            for field in dataclasses.fields(args)
            if field.name not in ("compare", "out") and getattr(args, field.name) != field.default
        ]
        if given:
            raise UsageError(f"{', '.join(given)}: --compare reads two results; leave it out there.")
        return
    if args.suite == "rendered" and args.metadata is not None:
        raise UsageError("--metadata: a rendered corpus has its list in --root; leave it out there.")
    for name in ("batch_size", "workers"):
        if getattr(args, name) < 0:
            raise UsageError(
                f"--{name.replace('_', '-')} is {getattr(args, name)}: give a positive number, or 0."
            )


def _compare(folders: tuple[Path, Path], out: Path | None) -> int:
    from audiosep_jax.evals.suites.comparison import compare
    from audiosep_jax.evals.suites.report import comparison_markdown, write_comparison
    from audiosep_jax.utils.atomic import write_json

    comparison = compare(*folders)
    if out is not None:
        write_json(out / "comparison.json", dataclasses.asdict(comparison))
        write_comparison(comparison, out / "comparison.md")
    print(comparison_markdown(comparison), end="")
    return 0


def _measure(args: BenchmarkArgs) -> int:
    import os
    import time

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from audiosep_jax.evals.suites import figures, report, runner
    from audiosep_jax.evals.suites.definitions import SUITES, rendered_suite
    from audiosep_jax.evals.suites.plan import chosen_datasets, list_mixtures
    from audiosep_jax.separation import api

    if args.suite is None or args.root is None or args.out is None:
        absent = [f"--{name}" for name in ("suite", "root", "out") if not getattr(args, name)]
        raise UsageError(f"{', '.join(absent)} not given: measuring needs all three; see --help.")
    suite = rendered_suite(args.root) if args.suite == "rendered" else SUITES[args.suite]
    runner.check_packages(suite)
    datasets = chosen_datasets(suite, args.datasets)
    mixtures = list_mixtures(
        datasets, metadata=args.metadata or args.root, root=args.root, queries=args.queries, kinds=args.kinds
    )
    loaded = api.load(args.checkpoint)
    model, checkpoint = make_model(loaded)
    scorer = None if args.clap is None else _scorer(args.clap)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    started = time.monotonic()
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("separating mixtures", total=None)
        result = runner.run_suite(
            suite,
            datasets,
            mixtures,
            model=model,
            name=loaded.config.name,
            checkpoint=checkpoint,
            out=args.out,
            batch_size=args.batch_size or default_batch_size(mixtures),
            workers=args.workers or min(16, os.cpu_count() or 1),
            scorer=scorer,
            allow_missing=args.allow_missing,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    figures.write_figures(result, args.out)
    # A terminal's width must not cut numbers off.
    print(report.markdown(result))
    print(f"results: {args.out} ({time.monotonic() - started:.0f} s)")
    return 0


def _scorer(source: str) -> "Scorer":
    from audiosep_jax.encoders.clap import encoder as clap
    from audiosep_jax.evals.suites.measure import Scorer

    tower = clap.load(source)
    return Scorer(tower=tower, fingerprint=tower.fingerprint)
