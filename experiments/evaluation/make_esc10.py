"""Draws the fixed evaluation sets on ESC-10 (K. J. Piczak, CC BY 3.0); a set stores file names only.

    cd experiments/evaluation
    python -m experiments.evaluation.make_esc10 --root ESC10_FOLDER --fold 4 --out esc10_fold4.json

The root holds one folder per class with files named `<fold>-<freesound id>-<take>.<suffix>`.
"""

import dataclasses
from pathlib import Path

import tyro

from audiosep_jax.errors import UsageError
from audiosep_jax.evals.evaluation_set import EvaluationSet, save_evaluation_set
from audiosep_jax.evals.evaluation_set_builder import Clip, make_evaluation_set
from data_pipelines.corpora.esc50_captions import captions_of, category_of_folder


@dataclasses.dataclass(frozen=True, kw_only=True)
class MakeArgs:
    """Draw an evaluation set from one fold of ESC-10."""

    root: Path
    """Folder with one folder per class."""
    out: Path
    """JSON file to write."""
    fold: int = 4
    """Fold whose clips are used."""
    per_class: int = 20
    """Mixtures per target class."""
    absent_per_class: int = 5
    """Further mixtures per target class whose query names neither of their sounds."""
    seed: int = 0
    """Seed of all draws."""


def make(args: MakeArgs) -> EvaluationSet:
    """Draws the set that the arguments describe.

    Raises:
      UsageError: the root holds no clip of the fold.
    """
    clips = [
        Clip(file=path.relative_to(args.root).as_posix(), label=category_of_folder(path.parent.name))
        for path in sorted(args.root.glob(f"*/{args.fold}-*"))
    ]
    if not clips:
        raise UsageError(f"{args.root} holds no <class>/{args.fold}-*: give the folder of ESC-10's classes.")
    return make_evaluation_set(
        clips,
        name=f"esc10-fold{args.fold}",
        description=f"ESC-10 fold {args.fold} (K. J. Piczak, CC BY 3.0), files are <class>/<file>.",
        root=args.root,
        captions={clip.label: captions_of(clip.label) for clip in clips},
        per_class=args.per_class,
        absent_per_class=args.absent_per_class,
        snr_db=0.0,
        seconds=5.0,
        sample_rate_hz=32_000,
        seed=args.seed,
    )


if __name__ == "__main__":
    arguments = tyro.cli(MakeArgs)
    save_evaluation_set(make(arguments), arguments.out)
