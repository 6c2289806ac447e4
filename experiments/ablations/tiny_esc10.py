r"""Four small models on real clips: the effect of FiLM's scale, the loss in dB, and magnitude compression.

  audiosep prepare esc50 --source ESC10 --out data/tiny_esc10 --sample-rate-hz 16000
  audiosep sweep experiments/ablations/tiny_esc10.py --workdir runs/tiny-esc10
  audiosep sweep report runs/tiny-esc10

The model of `experiments/tiny.py` on ESC-10 (K. J. Piczak, CC BY 3.0): trained on folds 1 to 3, measured on
200 fixed mixtures of fold 4, and on 50 more whose query names none of their sounds. data/esc10 is the folder
of ESC-10's classes. No model is selected on fold 4: the model of the last step is measured. Every run is
short (150 steps of eight one-second mixtures), so that twelve runs fit into an hour on two cores; after so
few steps, differences mean how fast a model learns.
"""

from audiosep_jax.sweeps.definition import Evaluation, Sweep, with_fields
from experiments import tiny

SWEEP = Sweep(
    name="tiny-esc10",
    base=with_fields(
        tiny.CONFIG,
        {
            "data.datasets": ("data/tiny_esc10:fold1+fold2+fold3",),
            "data.validation": ("data/tiny_esc10:fold4",),
            "data.weights": (),
            "mixture.segment_seconds": 1.0,
            "optimizer.warmup_steps": 20,
            "train.steps": 150,
            "train.log_every": 10,
            "train.save_every": 50,
            "train.evaluate_every": 30,
            "train.validation_mixtures": 16,
            "train.audio_examples": 0,
        },
        where="tiny-esc10",
    ),
    cells={
        "base": {},
        "film-shift": {"model.film": "shift"},
        "loss-l1": {"train.loss": "l1"},
        "magnitude-power-1": {"model.magnitude_power": 1.0},
    },
    evaluation=Evaluation(
        evaluation_set="experiments/evaluation/esc10_fold4.json", root="data/esc10", batch_size=10
    ),
)
