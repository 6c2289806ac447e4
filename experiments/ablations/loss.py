"""The loss: mean absolute error of the waveform, as in the reference, or the error in dB.

  audiosep sweep experiments/ablations/loss.py --workdir runs/loss
  audiosep sweep report runs/loss

Not run here: it needs the corpora of `experiments/base.py` and accelerators.
"""

from audiosep_jax.sweeps.definition import Evaluation, Sweep
from experiments import short

SWEEP = Sweep(
    name="loss",
    base=short.CONFIG,
    cells={
        "l1": {},
        "snr": {"train.loss": "snr"},
    },
    evaluation=Evaluation(evaluation_set="experiments/evaluation/esc10_fold4.json", root="data/esc10"),
)
