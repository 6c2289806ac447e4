r"""Measures at which level of its estimate a query's sound is there, and writes a checkpoint's presence.json.

  python -m experiments.calibrate_presence --checkpoint runs/open/checkpoint \
      --evaluation-set experiments/evaluation/open_sounds_development.json --root data/open_sounds_clips

Every mixture of the set is separated with the queries of its two sounds, which are present, and with as many
queries of other mixtures that name neither sound, which are absent. A query is the caption of a target with
that label. The score is a logistic curve of the level; the warning threshold is the level below which one
present query in ten lies.
"""

import dataclasses
import json
import math
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tyro
from jaxtyping import Bool, Float

import audiosep_jax
from audiosep_jax.checkpoints.folder import PRESENCE_FILE
from audiosep_jax.errors import AudioSepError, UsageError
from audiosep_jax.evals.evaluation_set import EvaluationSet, check_files, load_evaluation_set, render
from audiosep_jax.separation.presence import AbsentQueryWarning, Calibration
from audiosep_jax.utils.atomic import replacing

_FALSE_ALARMS = 0.1
_ROUNDS = 50


@dataclasses.dataclass(frozen=True, kw_only=True)
class CalibrateArgs:
    """Calibrate the presence of a checkpoint."""

    checkpoint: Path
    """Folder of the checkpoint; its presence.json is written."""
    evaluation_set: Path
    """Mixtures that no training saw."""
    root: Path
    """Folder of the set's files."""
    seed: int = 0
    """Of the absent queries."""


def calibrate(args: CalibrateArgs) -> tuple[Calibration, float]:
    """Returns the calibration, and the area under the curve of present against absent queries.

    Raises:
      AudioSepError: the checkpoint or the set cannot be used, or has too few labels.
    """
    evaluation_set = load_evaluation_set(args.evaluation_set)
    check_files(evaluation_set, args.root)
    levels, present = _levels(
        audiosep_jax.load(args.checkpoint), evaluation_set, root=args.root, seed=args.seed
    )
    midpoint, slope = logistic(levels, present)
    threshold = float(np.quantile(levels[present], _FALSE_ALARMS))
    warned = float(np.mean(levels[~present] < threshold))
    area = float(np.mean(levels[present][:, None] > levels[~present][None]))
    measured_on = (
        f"{evaluation_set.name}: {int(present.sum())} present and {int((~present).sum())} absent queries, "
        f"AUC {area:.2f}; below the threshold {_FALSE_ALARMS:.0%} of the present and {warned:.0%} of the "
        "absent ones"
    )
    return (
        Calibration(
            midpoint_db=round(midpoint, 2),
            slope_per_db=round(slope, 4),
            absent_below_db=round(threshold, 1),
            measured_on=measured_on,
        ),
        area,
    )


def logistic(levels: Float[np.ndarray, " n"], present: Bool[np.ndarray, " n"]) -> tuple[float, float]:
    """Returns midpoint and slope of the log-odds that a query is present, fitted by Newton's method.

    Both kinds weigh alike, however many there are. Levels are in dB; -inf counts as -80 dB.
    """
    inputs = np.stack([np.ones(len(levels)), np.maximum(levels, -80.0)], axis=1)
    weights = np.where(present, 0.5 / present.sum(), 0.5 / (~present).sum())
    beta = np.zeros(2)
    for _ in range(_ROUNDS):
        chance = 1 / (1 + np.exp(-np.clip(inputs @ beta, -500, 500)))
        gradient = inputs.T @ (weights * (present - chance))
        hessian = (inputs * (weights * chance * (1 - chance))[:, None]).T @ inputs + 1e-9 * np.eye(2)
        beta = beta + np.linalg.solve(hessian, gradient)
    return -beta[0] / beta[1], beta[1]


def _levels(
    model: audiosep_jax.AudioSep, evaluation_set: EvaluationSet, *, root: Path, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the level of every query's estimate, and whether its sound is in the mixture."""
    rate, draw = evaluation_set.sample_rate_hz, np.random.default_rng(seed)
    entries = [entry for entry in evaluation_set.entries if not entry.is_absent]
    captions = {entry.target.label: entry.caption for entry in entries}
    levels, present = [], []
    for entry in entries:
        heard = {entry.target.label, entry.interferer.label}
        others = [label for label in sorted(captions) if label not in heard]
        queries = [captions[label] for label in sorted(heard) if label in captions]
        if len(others) < len(queries):
            raise UsageError(
                f"{evaluation_set.name} has too few labels for absent queries: give another set."
            )
        absent = [captions[str(label)] for label in draw.choice(others, len(queries), replace=False)]
        example = render(entry, root=root, sample_rate_hz=rate, seconds=evaluation_set.seconds)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AbsentQueryWarning)
            results = model.separate_queries(example.mixture, rate, queries=[*queries, *absent])
        levels += [result.presence.level_db for result in results]
        present += [True] * len(queries) + [False] * len(absent)
    return np.array([level if math.isfinite(level) else -80.0 for level in levels]), np.array(present)


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the calibration and prints it; returns 0, or 2 for an error."""
    args = tyro.cli(CalibrateArgs, args=argv, prog="python -m experiments.calibrate_presence")
    try:
        calibration, _ = calibrate(args)
    except AudioSepError as error:
        print(f"calibrate_presence: error: {error}", file=sys.stderr)
        return 2
    with replacing(args.checkpoint / PRESENCE_FILE) as temporary:
        temporary.write_text(json.dumps(dataclasses.asdict(calibration), indent=2) + "\n", "utf-8")
    print(calibration.measured_on)
    return 0


if __name__ == "__main__":
    sys.exit(main())
