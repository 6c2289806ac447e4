"""`audiosep evaluate`: measures a model on a fixed evaluation set."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import tyro

from audiosep_jax.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from audiosep_jax.evals.evaluate import EvaluationResult
    from audiosep_jax.evals.evaluation_set import EvaluationSet
    from audiosep_jax.separation.api import AudioSep


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluateArgs:
    """Measure a model on a fixed evaluation set: SDRi, SI-SDR and more, per class, with 95 % intervals.

    Writes result.json (every mixture), table.md and figures; with --bounds also bounds.json, and with several
    gains also gains.json.
    """

    evaluation_set: tyro.conf.Positional[Path]
    """JSON file of the set, for example experiments/evaluation/esc10_fold4.json."""
    root: Path
    """Folder that the set's file names start from."""
    checkpoint: Annotated[str | None, tyro.conf.arg(metavar="FOLDER|ORG/NAME")] = None
    """Folder of the model, or org/name on the Hugging Face hub; by default the bundled model."""
    out: Path = Path("evaluation")
    """Folder for the results."""
    batch_size: int = 8
    """Mixtures that are separated together."""
    bounds: Literal["no", "yes", "only"] = "no"
    """yes: also measure floors (a low-pass filter, half of the mixture) and ceilings (ideal masks with the
    model's window) on the same mixtures. only: measure nothing else."""
    gain_db: Annotated[tuple[float, ...], tyro.conf.arg(metavar="DB...")] = (0.0,)
    """Gain of the mixtures before they are separated, to measure quiet recordings, for example 0 -20 -40.
    Tables and figures are of the first one; the others get a row each in table.md."""


MOST_GAIN_DB = 120.0


def run(args: EvaluateArgs) -> int:
    """Evaluates, writes the results and prints the table; returns the exit status."""
    if args.batch_size < 1:
        raise UsageError(f"--batch-size is {args.batch_size}: give a positive number.")
    if not args.gain_db or len(set(args.gain_db)) < len(args.gain_db):
        raise UsageError("--gain-db has no value, or one value twice: give different gains in dB.")
    if not all(abs(gain) <= MOST_GAIN_DB for gain in args.gain_db):
        raise UsageError(
            f"--gain-db is out of range: give values from -{MOST_GAIN_DB:g} to {MOST_GAIN_DB:g} dB."
        )
    from rich.console import Console

    from audiosep_jax.evals import report
    from audiosep_jax.evals.evaluation_set import check_files, load_evaluation_set
    from audiosep_jax.separation import api
    from audiosep_jax.utils.atomic import make_folder

    evaluation_set = load_evaluation_set(args.evaluation_set)
    check_files(evaluation_set, args.root)
    model = api.load(args.checkpoint)
    out, console = make_folder(args.out), Console()
    result, gains = None, ()
    if args.bounds != "only":
        result, *gains = _separated(args, evaluation_set, model, out, console)
        report.write_json(result, out / "result.json")
    if gains:
        report.write_json_list(gains, out / "gains.json")
    bounds = () if args.bounds == "no" else _bounds(args, evaluation_set, model, console)
    if bounds:
        report.write_json_list(bounds, out / "bounds.json")
    report.write_markdown(result, out / "table.md", bounds=bounds, gains=gains)
    console.print(report.console_table(result, bounds=bounds))
    if result and gains:
        console.print(report.console_gains([result, *gains]))
    console.print(f"results: {out}", markup=False, highlight=False, soft_wrap=True)
    return 0


def _separated(
    args: EvaluateArgs, evaluation_set: "EvaluationSet", model: "AudioSep", out: Path, console: "Console"
) -> "list[EvaluationResult]":
    """Returns a result for each gain, and draws the figures of the first."""
    import jax

    from audiosep_jax.encoders.base import load_encoder
    from audiosep_jax.evals import figures
    from audiosep_jax.evals.evaluate import evaluate
    from audiosep_jax.evals.picked_examples import example_figures
    from audiosep_jax.utils.progress import counted

    encode = load_encoder(model.config.query).encode

    def apply(mixture: np.ndarray, condition: np.ndarray) -> jax.Array:
        return model.apply(jax.numpy.asarray(mixture), jax.numpy.asarray(condition))

    results = []
    for gain_db in args.gain_db:
        at_gain = f" at {gain_db:+g} dB" if gain_db else ""
        with counted(
            f"separating mixtures{at_gain}", console=console, total=len(evaluation_set.entries)
        ) as progress:
            results.append(
                evaluate(
                    evaluation_set,
                    root=args.root,
                    apply=apply,
                    encode=encode,
                    model_sample_rate_hz=model.sample_rate_hz,
                    working_level_db=model.config.model.working_level_db,
                    gain_db=gain_db,
                    model=model.config.name,
                    batch_size=args.batch_size,
                    progress=progress,
                )
            )
    result = results[0]
    figures.distribution_figure(result, out / "distribution.png")
    if result.overall is not None:
        figures.class_figure(result, out / "classes.png")
        if result.kinds:
            figures.kind_figure(result, out / "kinds.png")
        example_figures(
            result,
            out,
            evaluation_set=evaluation_set,
            root=args.root,
            apply=apply,
            encode=encode,
            working_level_db=model.config.model.working_level_db,
            batch_size=args.batch_size,
        )
    return results


def _bounds(
    args: EvaluateArgs, evaluation_set: "EvaluationSet", model: "AudioSep", console: "Console"
) -> "tuple[EvaluationResult, ...]":
    from audiosep_jax.evals.bounds import measure_bounds
    from audiosep_jax.utils.progress import counted

    with counted("measuring bounds", console=console, total=2 * len(evaluation_set.entries)) as progress:
        return measure_bounds(
            evaluation_set,
            root=args.root,
            model_sample_rate_hz=model.sample_rate_hz,
            window_length=model.config.model.window_length,
            hop_length=model.config.model.hop_length,
            batch_size=args.batch_size,
            progress=progress,
        )
