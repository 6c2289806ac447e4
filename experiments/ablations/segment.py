"""The length of training segments: five seconds, as in the reference, half, or twice that.

  audiosep sweep experiments/ablations/segment.py --workdir runs/segment
  audiosep sweep report runs/segment

All cells train on the same number of segments, so longer ones cost more.

Not run here: it needs the corpora of `experiments/base.py` and accelerators.
"""

from audiosep_jax.sweeps.definition import Evaluation, Sweep
from experiments import short

SWEEP = Sweep(
    name="segment",
    base=short.CONFIG,
    cells={
        "five-seconds": {},
        "half": {"mixture.segment_seconds": 2.5},
        "twice": {"mixture.segment_seconds": 10.0},
    },
    evaluation=Evaluation(evaluation_set="experiments/evaluation/esc10_fold4.json", root="data/esc10"),
)
