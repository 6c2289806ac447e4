"""Rules for clips that must not be mixed: same caption or label, similar captions, related classes.

  audiosep sweep experiments/ablations/collisions.py --workdir runs/collisions
  audiosep sweep report runs/collisions

data/ontology.json is AudioSet's.

Not run here: it needs the corpora of `experiments/base.py` and accelerators.
"""

from audiosep_jax.sweeps.definition import Evaluation, Sweep
from experiments import short

SWEEP = Sweep(
    name="collisions",
    base=short.CONFIG,
    cells={
        "caption-or-label": {},
        "none": {"mixture.collisions": ()},
        "caption": {"mixture.collisions": ("caption",)},
        "similarity": {"mixture.collisions": ("caption", "label", "similarity")},
        "ontology": {
            "mixture.collisions": ("caption", "label", "ontology"),
            "mixture.ontology": "data/ontology.json",
        },
    },
    evaluation=Evaluation(evaluation_set="experiments/evaluation/esc10_fold4.json", root="data/esc10"),
)
