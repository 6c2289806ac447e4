"""AdamW with AMSGrad, as for the released checkpoint, or Adam, as in the article.

  audiosep sweep experiments/ablations/optimizer.py --workdir runs/optimizer
  audiosep sweep report runs/optimizer

Without weight decay AdamW is Adam, so the first two cells differ in AMSGrad only. The third cell is AdamW
without AMSGrad and with decoupled weight decay.

Not run here: it needs the corpora of `experiments/base.py` and accelerators.
"""

from audiosep_jax.sweeps.definition import Evaluation, Sweep
from experiments import short

SWEEP = Sweep(
    name="optimizer",
    base=short.CONFIG,
    cells={
        "adamw-amsgrad": {},
        "adam": {"optimizer.kind": "adam"},
        "adamw-decay": {"optimizer.kind": "adamw", "optimizer.weight_decay": 0.01},
    },
    evaluation=Evaluation(evaluation_set="experiments/evaluation/esc10_fold4.json", root="data/esc10"),
)
