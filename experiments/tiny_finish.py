r"""The last stage of audiosep-tiny: the learning rate falls to zero, and one query in ten is absent.

An absent query names no sound of the mixture, so its target is silence. It comes last because a new model
would learn nothing but silence: zero is right for every absent query and not too wrong for the others.

The first command trains on folds 1 to 3 with fold 4 held out, the second, for the release, on folds 1 to 4:

  audiosep train experiments/tiny_finish.py --workdir runs/tiny_finish
  audiosep train experiments/tiny_finish.py --workdir runs/tiny_release \
      --set 'data.datasets=["data/tiny_esc10:fold1+fold2+fold3+fold4", "data/tiny_open_sounds:train"]' \
      'data.validation=["data/tiny_open_sounds:validation"]'
"""

import dataclasses

from experiments.tiny import CONFIG as TINY

_STEPS = 700

CONFIG = dataclasses.replace(
    TINY,
    mixture=dataclasses.replace(TINY.mixture, absent_probability=0.1),
    optimizer=dataclasses.replace(TINY.optimizer, decay_steps=_STEPS - 50, warmup_steps=50),
    train=dataclasses.replace(
        TINY.train, steps=_STEPS, seed=1, evaluate_every=_STEPS // 2, init_from="runs/tiny/best"
    ),
    data=dataclasses.replace(TINY.data, seed=1),
)
