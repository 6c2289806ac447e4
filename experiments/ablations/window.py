"""The STFT window: 2048 samples, as in the released checkpoint, or 1024, as in the article.

  audiosep sweep experiments/ablations/window.py --workdir runs/window
  audiosep sweep report runs/window

The hop is 320 samples in both cells, so both have as many frames; half the window is half the arithmetic.

Not run here: it needs the corpora of `experiments/base.py` and accelerators.
"""

from audiosep_jax.sweeps.definition import Evaluation, Sweep
from experiments import short

SWEEP = Sweep(
    name="window",
    base=short.CONFIG,
    cells={
        "window-2048": {},
        "window-1024": {"model.window_length": 1024},
    },
    evaluation=Evaluation(evaluation_set="experiments/evaluation/esc10_fold4.json", root="data/esc10"),
)
