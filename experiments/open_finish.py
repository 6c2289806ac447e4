r"""The last stage of audiosep-open: the learning rate falls to zero, and one query in fourteen is absent.

  audiosep train experiments/open_finish.py --workdir runs/open_finish

It continues from the model of a run of `experiments/open.py`, which may still be going on: its constant rate
makes every state of it a start for this stage. Absent queries come last because a new model would learn
nothing but silence.
"""

import dataclasses

from experiments.open import CONFIG as OPEN

STEPS = 1_000

CONFIG = dataclasses.replace(
    OPEN,
    mixture=dataclasses.replace(OPEN.mixture, absent_probability=0.07),
    optimizer=dataclasses.replace(OPEN.optimizer, decay_steps=STEPS - 50),
    train=dataclasses.replace(
        OPEN.train,
        silence_floor_db=-15.0,
        steps=STEPS,
        seed=1,
        ema_decay=0.0,
        evaluate_every=STEPS // 2,
        init_from="runs/open/checkpoint",
    ),
    data=dataclasses.replace(OPEN.data, seed=1),
)
