"""The released recipe at a tenth of its length, the base of the sweeps in `experiments/ablations/`.

  audiosep train experiments/short.py --workdir runs/short

The datasets, the model and the batch of `base.py`, with a tenth of its steps and warm-up. A model learns most
in the first 100,000 steps; the order of two variants may still change until a million.

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
