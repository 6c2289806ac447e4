"""The released recipe at a tenth of its length: what the sweeps in `experiments/ablations/` change.

  audiosep train experiments/short.py --workdir runs/short

The datasets, the model and the batch of `base.py`, a tenth of its steps and of its warm-up. The order of two
variants after 100,000 steps is no proof of their order after a million, but most of the learning lies before.

Reached here: not yet measured; it needs the corpora of `base.py` and accelerators.
"""

import dataclasses

from experiments import base

CONFIG = dataclasses.replace(
    base.CONFIG,
    name="audiosep-short",
    optimizer=dataclasses.replace(base.CONFIG.optimizer, warmup_steps=1_000),
    train=dataclasses.replace(base.CONFIG.train, steps=100_000, keep_every=0),
)
