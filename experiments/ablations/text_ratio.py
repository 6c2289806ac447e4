"""The condition in training: captions, the sound of the target, or half of each.

  audiosep sweep experiments/ablations/text_ratio.py --workdir runs/text_ratio
  audiosep sweep report runs/text_ratio

The queries of the evaluation are captions in every cell.

Not run here: it needs the corpora of `experiments/base.py` and accelerators.
"""

from audiosep_jax.sweeps.definition import Evaluation, Sweep
from experiments import short

SWEEP = Sweep(
    name="text-ratio",
    base=short.CONFIG,
    cells={
        "text": {},
        "half": {"query.text_ratio": 0.5},
        "audio": {"query.text_ratio": 0.0},
    },
    evaluation=Evaluation(evaluation_set="experiments/evaluation/esc10_fold4.json", root="data/esc10"),
)
