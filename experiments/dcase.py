r"""The baseline of DCASE 2024 Task 9, language-queried audio source separation.

  audiosep convert music_speech_audioset_epoch_15_esc_89.98.pt checkpoints/clap
  audiosep prepare audio_folder --source CLOTHO --out data/clotho --sample-rate-hz 16000
  audiosep prepare audio_folder --source FSD50K --out data/fsd50k --sample-rate-hz 16000
  audiosep train experiments/dcase.py --workdir runs/dcase

The released model at 16 kHz on segments of 10 s, conditioned by CLAP; a batch of 16 fits one accelerator.

Reached here: not yet measured. The baseline reports SDR 5.708, SDRi 5.673 and SI-SDR 3.862 dB.
"""

import dataclasses

from audiosep_jax.config import DataConfig
from experiments import base

CONFIG = dataclasses.replace(
    base.CONFIG,
    name="audiosep-dcase",
    model=dataclasses.replace(base.CONFIG.model, sample_rate_hz=16_000, window_length=1024, hop_length=160),
    mixture=dataclasses.replace(base.CONFIG.mixture, segment_seconds=10.0),
    data=DataConfig(
        datasets=("data/clotho:train", "data/fsd50k:train"), validation=("data/clotho:validation",)
    ),
    train=dataclasses.replace(base.CONFIG.train, steps=200_000, batch_size=16),
)
