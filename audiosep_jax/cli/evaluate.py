"""`audiosep evaluate`: measures a model on a fixed evaluation set."""

import dataclasses
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from audiosep_jax.errors import UsageError


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluateArgs:
    """Measure a model on a fixed evaluation set: SDRi, SI-SDR and more, per class, with 95 % intervals.

    Writes result.json (every mixture), table.md and figures.
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


def run(args: EvaluateArgs) -> int:
    """Evaluates, writes the results and prints the table; returns the exit status."""
    if args.batch_size < 1:
        raise UsageError(f"--batch-size is {args.batch_size}: give a positive number.")
    import jax
    from rich.console import Console

    from audiosep_jax.encoders.base import load_encoder
    from audiosep_jax.evals import figures, report
    from audiosep_jax.evals.evaluate import evaluate
    from audiosep_jax.evals.evaluation_set import check_files, load_evaluation_set
    from audiosep_jax.evals.picked_examples import example_figures
    from audiosep_jax.separation import api
    from audiosep_jax.utils.atomic import make_folder
    from audiosep_jax.utils.progress import counted

    evaluation_set = load_evaluation_set(args.evaluation_set)
    check_files(evaluation_set, args.root)
    model = api.load(args.checkpoint)
    encode = load_encoder(model.config.query).encode
    out = make_folder(args.out)

    def apply(mixture: np.ndarray, condition: np.ndarray) -> jax.Array:
        return model.apply(jax.numpy.asarray(mixture), jax.numpy.asarray(condition))

    console = Console()
    with counted("separating mixtures", console=console, total=len(evaluation_set.entries)) as progress:
        result = evaluate(
            evaluation_set,
            root=args.root,
            apply=apply,
            encode=encode,
            model_sample_rate_hz=model.sample_rate_hz,
            working_level_db=model.config.model.working_level_db,
            model=model.config.name,
            batch_size=args.batch_size,
            progress=progress,
        )
    report.write_json(result, out / "result.json")
    report.write_markdown(result, out / "table.md")
    figures.distribution_figure(result, out / "distribution.png")
    if result.overall is not None:
        figures.class_figure(result, out / "classes.png")
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
    console.print(report.console_table(result))
    console.print(f"results: {out}", markup=False, highlight=False, soft_wrap=True)
    return 0
