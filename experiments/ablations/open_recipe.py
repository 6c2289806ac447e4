r"""The recipe of `experiments/open.py`: equal steps of one network, one change each.

  audiosep sweep experiments/ablations/open_recipe.py --workdir runs/open-recipe

`reference` is AudioSep's own recipe: mean absolute error, gains of -10 to 10 dB, no change of level. The
other cells change one field of ours.
"""

from audiosep_jax.sweeps.definition import Evaluation, Sweep, with_fields
from experiments import open as open_experiment

STEPS = 700

SWEEP = Sweep(
    name="open-recipe",
    base=with_fields(
        open_experiment.CONFIG,
        {
            "optimizer.warmup_steps": 30,
            "optimizer.decay_steps": 500,
            "train.steps": STEPS,
            "train.save_every": STEPS // 2,
            "train.evaluate_every": 0,
            "train.ema_decay": 0.0,
            "data.validation": (),
        },
        where="open-recipe",
    ),
    cells={
        "base": {},
        "reference": {
            "train.loss": "l1",
            "mixture.gain_range_db": (-10, 10),
            "mixture.level_range_db": (0.0, 0.0),
            "augment": {},
            "data.label_balance": 0.0,
        },
        "loss-l1": {"train.loss": "l1"},
        "gains-10": {"mixture.gain_range_db": (-10, 10)},
        "no-balance": {"data.label_balance": 0.0},
        "no-augment": {"augment": {}},
        "no-speed": {"augment.speed_range": (1.0, 1.0)},
        "reverb": {"augment.reverb_share": 0.2},
        "rate-2e-3": {"optimizer.learning_rate": 2e-3},
        "muon": {"optimizer.kind": "muon", "train.steps": 480, "optimizer.decay_steps": 340},
        "ema": {"train.ema_decay": 0.99},
    },
    seeds=(0, 1, 2),
    evaluation=Evaluation(
        evaluation_set="experiments/evaluation/open_sounds_development.json", root="data/open_sounds_clips"
    ),
)
