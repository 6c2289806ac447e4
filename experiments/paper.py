r"""The model of the article "Separate Anything You Describe" (arXiv 2308.05037), which was not released.

  audiosep convert music_speech_audioset_epoch_15_esc_89.98.pt checkpoints/clap
  audiosep train experiments/paper.py --workdir runs/paper

Wider than the released checkpoint, a shorter window, four bottleneck blocks, Adam at a constant rate (the
article states no schedule). For eight accelerators with 12 examples each, a million steps. The article
compares CLAP, used here, with CLIP, whose conditions have the same size:
`--set query.encoder=clip query.source=openai/clip-vit-base-patch32`.

Reached here: not yet measured.
"""

import dataclasses

from audiosep_jax.config import OptimizerConfig
from experiments import base

CONFIG = dataclasses.replace(
    base.CONFIG,
    name="audiosep-paper",
    model=dataclasses.replace(
        base.CONFIG.model,
        window_length=1024,
        encoder_widths=(32, 64, 128, 256, 512, 1024),
        bottleneck_blocks=4,
        unused_tensors=False,
    ),
    optimizer=OptimizerConfig(kind="adam", learning_rate=1e-3, warmup_steps=0, warmup_factors=()),
)
