r"""Networks for `experiments/open.py` that take about as long to train.

  audiosep sweep experiments/ablations/open_network.py --workdir runs/open-network

The steps of each cell are chosen so that all cells take the time of 700 steps of the first on two cores.
"""

from audiosep_jax.sweeps.definition import Evaluation, Sweep, with_fields
from experiments import open as open_experiment

STEPS = 700


def _steps(steps: int) -> dict[str, int]:
    return {"train.steps": steps, "optimizer.decay_steps": round(0.7 * steps)}


SWEEP = Sweep(
    name="open-network",
    base=with_fields(
        open_experiment.CONFIG,
        {
            "optimizer.warmup_steps": 30,
            "train.save_every": STEPS // 2,
            "train.evaluate_every": 0,
            "train.ema_decay": 0.0,
            "data.validation": (),
            **_steps(STEPS),
        },
        where="open-network",
    ),
    cells={
        "base": {},
        "window-1024": {"model.window_length": 1024, "model.hop_length": 512},
        "hop-640": {"model.hop_length": 640, **_steps(450)},
        "four-seconds": {"mixture.segment_seconds": 4.0, "train.batch_size": 4},
        "one-second": {"mixture.segment_seconds": 1.0, "train.batch_size": 16},
        "batch-4": {"train.batch_size": 4, **_steps(1400)},
        "six-levels": {"model.encoder_widths": (32, 64, 96, 128, 128, 128)},
        "wide": {"model.encoder_widths": (48, 80, 112, 144, 160), **_steps(480)},
        "patch-8": {"model.patch_bins": 8, "model.encoder_widths": (24, 48, 64, 96, 128, 128), **_steps(550)},
    },
    seeds=(0, 1, 2),
    evaluation=Evaluation(
        evaluation_set="experiments/evaluation/open_sounds_development.json", root="data/open_sounds_clips"
    ),
)
