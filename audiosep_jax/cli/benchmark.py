"""`audiosep benchmark`: measures a model on the benchmarks of the literature, or compares two results."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from audiosep_jax.cli.flags import given_flags
from audiosep_jax.errors import UsageError


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchmarkArgs:
    """Measure a model on a suite, or compare two results: audiosep benchmark --compare OUT_A OUT_B.

    audiosep: AudioSet, VGGSound, AudioCaps, Clotho, MUSIC and ESC-50 as the AudioSep article mixes them.
    dcase: the validation set of DCASE 2024 Task 9. voicebank: the test set of VoiceBank-DEMAND, with PESQ,
    CSIG, CBAK, COVL, segmental SNR and STOI. rendered: a corpus of audiosep render. An interrupted
    run resumes.
    """

    suite: Literal["audiosep", "dcase", "voicebank", "rendered"] | None = None
    """The benchmark."""
    root: Path | None = None
    """Folder of the sounds: with a folder per dataset (audiosep), with lass_validation/ (dcase), with
    clean_testset_wav/ and noisy_testset_wav/ (voicebank), or the corpus (rendered)."""
    metadata: Path | None = None
    """Folder of the lists (*_eval.csv, lass_synthetic_validation.csv, log_testset.txt); by default --root."""
    out: Path | None = None
    """Folder for the results."""
    checkpoint: Annotated[str | None, tyro.conf.arg(metavar="FOLDER|ORG/NAME")] = None
    """Folder of the model, or org/name on the Hugging Face hub; by default the bundled model."""
    datasets: tuple[str, ...] = ()
    """Only these datasets of the suite, such as "esc50 music"."""
    queries: Path | None = None
    """CSV file of further queries (columns id, query, and optionally kind and dataset). Only the mixtures in
    the file are measured, with the queries of the suite's list and with these; a table compares the kinds."""
    kinds: tuple[str, ...] = ()
    """Only queries of these kinds, such as "caption label" of AudioCaps; the first stands for the dataset."""
    clap: Annotated[str | None, tyro.conf.arg(metavar="FOLDER|ORG/NAME")] = None
    """CLAP that adds CLAPScore and RefCLAPScore: a tower folder, or a model of transformers."""
    allow_missing: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Measure the files that exist, and list the missing ones in the results."""
    batch_size: int = 0
    """Rows that are separated together; 0 is the queries of one mixture on a CPU, and 16 elsewhere."""
    workers: int = 0
    """Threads that read files and measure; 0 is the number of cores, at most 16."""
    compare: tuple[Path, Path] | None = None
    """Two folders of results: print what the second model gains over the first, and write it to --out."""


def run(args: BenchmarkArgs) -> int:
    """Measures or compares, writes the results and prints the table; returns the exit status."""
    if args.compare is not None:
        if given := given_flags(args, without=("compare", "out")):
            raise UsageError(
                f"{', '.join(given)}: --compare only reads two results; remove the other options."
            )
        return _compare(args.compare, args.out)
    if args.suite == "rendered" and args.metadata is not None:
        raise UsageError("--metadata: a rendered corpus has its list in --root; remove --metadata.")
    for name in ("batch_size", "workers"):
        if getattr(args, name) < 0:
            raise UsageError(
                f"--{name.replace('_', '-')} is {getattr(args, name)}: give a positive number, or 0."
            )
    return _measure(args)


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

    from audiosep_jax.encoders.clap import encoder as clap
    from audiosep_jax.evals.suites import figures, report, runner
    from audiosep_jax.evals.suites.compiled_model import default_batch_size, make_model
    from audiosep_jax.evals.suites.definitions import SUITES, rendered_suite
    from audiosep_jax.evals.suites.measure import Scorer
    from audiosep_jax.evals.suites.plan import chosen_datasets, list_mixtures
    from audiosep_jax.separation import api
    from audiosep_jax.utils.progress import counted

    if args.suite is None or args.root is None or args.out is None:
        absent = [f"--{name}" for name in ("suite", "root", "out") if not getattr(args, name)]
        raise UsageError(f"{', '.join(absent)} not given: a measurement needs all three; see --help.")
    suite = rendered_suite(args.root) if args.suite == "rendered" else SUITES[args.suite]
    runner.check_packages(suite)
    datasets = chosen_datasets(suite, args.datasets)
    mixtures = list_mixtures(
        datasets, metadata=args.metadata or args.root, root=args.root, queries=args.queries, kinds=args.kinds
    )
    loaded = api.load(args.checkpoint)
    model, checkpoint = make_model(loaded.config, loaded.variables)
    scorer = None
    if args.clap is not None:
        tower = clap.load(args.clap)
        scorer = Scorer(tower=tower, fingerprint=tower.fingerprint)
    started = time.monotonic()
    with counted("separating mixtures", console=Console(stderr=True)) as progress:
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
            progress=progress,
        )
    figures.write_figures(result, args.out)
    # Plain text: a table of Rich would cut numbers off at the width of the terminal.
    print(report.markdown(result))
    print(f"results: {args.out} ({time.monotonic() - started:.0f} s)")
    return 0
