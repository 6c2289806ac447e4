r"""audiosep-tiny: the model that was bundled before audiosep-open, trained on two CPU cores.

It works at 16 kHz: only 3.5 % of ESC-10's energy is above 8 kHz, and half the rate is half the arithmetic.
Two-second segments, small batches, the magnitude to the power of 0.3, and the error in dB as the loss gave
the best small model in little time.

  audiosep prepare esc50 --source ESC10 --out data/tiny_esc10 --sample-rate-hz 16000
  audiosep prepare audio_folder --source OPEN_SOUNDS --out data/tiny_open_sounds --sample-rate-hz 16000 \
      --source-column source_file --validation-share 0.1
  audiosep train experiments/tiny.py --workdir runs/tiny

OPEN_SOUNDS is a folder of 880 freely licensed clips with a table, without the six recordings that `make demo`
holds out. 2,000 steps took 29 minutes on two shared cores of an AMD EPYC and reached 5.97 dB SDRi on 48
mixtures of the held-out fold; `tiny_finish.py` continues from there.
"""

from audiosep_jax.config import (
    DataConfig,
    ExperimentConfig,
    MixtureConfig,
    ModelConfig,
    OptimizerConfig,
    QueryConfig,
    TrainConfig,
)

CONFIG = ExperimentConfig(
    name="audiosep-tiny",
    model=ModelConfig(
        sample_rate_hz=16_000,
        window_length=512,
        hop_length=256,
        encoder_widths=(8, 16, 32, 64, 96, 96),
        film="scale_shift",
        condition_size=384,
        magnitude_power=0.3,
        working_level_db=-28.0,
        unused_tensors=False,
    ),
    query=QueryConfig(encoder="sentence"),
    mixture=MixtureConfig(gain_range_db=(-5, 5), segment_seconds=2.0, level_range_db=(-15.0, 5.0)),
    data=DataConfig(
        datasets=("data/tiny_esc10:fold1+fold2+fold3", "data/tiny_open_sounds:train"),
        validation=("data/tiny_esc10:fold4",),
        weights=(0.7, 0.3),
        read_threads=1,
        prefetch=4,
    ),
    optimizer=OptimizerConfig(kind="adam", learning_rate=1e-3, warmup_steps=100, warmup_factors=(0.1,)),
    train=TrainConfig(
        steps=2_000,
        batch_size=8,
        loss="snr",
        log_every=20,
        save_every=500,
        evaluate_every=500,
        validation_mixtures=48,
        audio_examples=1,
    ),
)
