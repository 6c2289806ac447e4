"""FiLM that only shifts the channels, as in the released checkpoint, or also scales them.

  audiosep sweep experiments/ablations/film.py --workdir runs/film
  audiosep sweep report runs/film

Not run here: it needs the corpora of `experiments/base.py` and accelerators.
"""

from audiosep_jax.sweeps.definition import Evaluation, Sweep
from experiments import short

SWEEP = Sweep(
    name="film",
    base=short.CONFIG,
    cells={
        "shift": {},
        "scale-and-shift": {"model.film": "scale_shift"},
    },
    evaluation=Evaluation(evaluation_set="experiments/evaluation/esc10_fold4.json", root="data/esc10"),
)
