r"""audiosep-open: the bundled model, trained on two CPU cores with sound that anyone can get.

  audiosep prepare esc50 --source ESC10 --out data/esc10
  audiosep prepare open_sounds --download --source data/debs --out data/open_sounds
  audiosep train experiments/open.py --workdir runs/open
  audiosep train experiments/open_finish.py --workdir runs/open_finish
  python -m experiments.release runs/open_finish/checkpoint

It works at 32 kHz: an ideal mask at 16 kHz reaches 14.7 dB on ESC-10's fold 4, at 32 kHz 18.0 dB. Patches of
16 bins keep the network cheap, and a window of 64 ms resolves the partials of music.
"""

from audiosep_jax.config import (
    AugmentConfig,
    DataConfig,
    ExperimentConfig,
    MixtureConfig,
    ModelConfig,
    OptimizerConfig,
    QueryConfig,
    TrainConfig,
)

CONFIG = ExperimentConfig(
    name="audiosep-open",
    model=ModelConfig(
        sample_rate_hz=32_000,
        window_length=2048,
        hop_length=1024,
        patch_bins=16,
        encoder_widths=(32, 64, 96, 128, 160),
        working_level_db=-24.0,
        film="scale_shift",
        condition_size=384,
        magnitude_power=0.3,
        unused_tensors=False,
    ),
    query=QueryConfig(encoder="sentence"),
    mixture=MixtureConfig(gain_range_db=(-5, 5), segment_seconds=2.0, level_range_db=(-15.0, 5.0)),
    augment=AugmentConfig(speed_range=(0.85, 1.18), equalizer_db=3.0, low_pass_share=0.2),
    data=DataConfig(
        datasets=("data/esc10:fold1+fold2+fold3", "data/open_sounds:train"),
        validation=("data/esc10:fold4", "data/open_sounds:heldout"),
        weights=(0.25, 0.75),
        label_balance=0.5,
        read_threads=1,
        prefetch=4,
    ),
    optimizer=OptimizerConfig(kind="adam", learning_rate=1e-3, warmup_steps=50, warmup_factors=(0.1,)),
    train=TrainConfig(
        steps=200_000,
        batch_size=8,
        loss="snr",
        ema_decay=0.999,
        log_every=50,
        save_every=500,
        evaluate_every=1000,
        validation_mixtures=96,
        audio_examples=0,
    ),
)
