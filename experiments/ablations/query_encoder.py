"""The query encoder: CLAP, CLIP or a sentence encoder.

  audiosep sweep experiments/ablations/query_encoder.py --workdir runs/query_encoder
  audiosep sweep report runs/query_encoder

CLAP is the checkpoint of `experiments/base.py`, CLIP is ViT-B/32, and the sentence encoder is
all-MiniLM-L6-v2, whose conditions have 384 numbers.

Not run here: it needs the corpora of `experiments/base.py` and accelerators.
"""

from audiosep_jax.sweeps.definition import Evaluation, Sweep
from experiments import short

SWEEP = Sweep(
    name="query-encoder",
    base=short.CONFIG,
    cells={
        "clap": {},
        "clip": {"query.encoder": "clip", "query.source": ""},
        "sentence": {"query.encoder": "sentence", "query.source": "", "model.condition_size": 384},
    },
    evaluation=Evaluation(evaluation_set="experiments/evaluation/esc10_fold4.json", root="data/esc10"),
)
