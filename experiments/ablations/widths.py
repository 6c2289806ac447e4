"""The widths of the encoder: up to 384 channels, as in the released checkpoint, or 1024, as in the article.

  audiosep sweep experiments/ablations/widths.py --workdir runs/widths
  audiosep sweep report runs/widths

The bottleneck has one block; the last cell has the four blocks of the article.

Not run here: it needs the corpora of `experiments/base.py` and accelerators.
"""

from audiosep_jax.sweeps.definition import Evaluation, Sweep
from experiments import short

SWEEP = Sweep(
    name="widths",
    base=short.CONFIG,
    cells={
        "widths-384": {},
        "widths-1024": {"model.encoder_widths": (32, 64, 128, 256, 512, 1024)},
        "widths-1024-bottleneck-4": {
            "model.encoder_widths": (32, 64, 128, 256, 512, 1024),
            "model.bottleneck_blocks": 4,
        },
    },
    evaluation=Evaluation(evaluation_set="experiments/evaluation/esc10_fold4.json", root="data/esc10"),
)
