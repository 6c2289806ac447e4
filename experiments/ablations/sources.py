"""The number of clips in a training mixture: two, three, four, or drawn from two to four.

  audiosep sweep experiments/ablations/sources.py --workdir runs/sources
  audiosep sweep report runs/sources

The mixtures of the evaluation have two clips in every cell.

Not run here: it needs the corpora of `experiments/base.py` and accelerators.
"""

from audiosep_jax.sweeps.definition import Evaluation, Sweep
from experiments import short

SWEEP = Sweep(
    name="sources",
    base=short.CONFIG,
    cells={
        "two": {},
        "three": {"mixture.sources": 3},
        "four": {"mixture.sources": 4},
        "two-to-four": {"mixture.sources": 4, "mixture.fewest_sources": 2},
    },
    evaluation=Evaluation(evaluation_set="experiments/evaluation/esc10_fold4.json", root="data/esc10"),
)
