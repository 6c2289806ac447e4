r"""audiosep-open: the bundled model, trained on two CPU cores with sound that anyone can get.

audiosep prepare esc50 --source ESC10 --out data/esc10
audiosep prepare open_sounds --download --source data/debs --out data/open_sounds
audiosep train experiments/open.py --workdir runs/open
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
    name="audiosep-open",
    model=ModelConfig(
        sample_rate_hz=32_000,
        window_length=2048,
        hop_length=1024,
        patch_bins=16,
        encoder_widths=(32, 64, 96, 128, 160),
        film="scale_shift",
        condition_size=384,
        magnitude_power=0.3,
        unused_tensors=False,
    ),
    query=QueryConfig(encoder="sentence"),
    mixture=MixtureConfig(gain_range_db=(-5, 5), segment_seconds=2.0, level_range_db=(-15.0, 5.0)),
    data=DataConfig(
        datasets=("data/esc10:fold1+fold2+fold3", "data/open_sounds:train"),
        validation=("data/esc10:fold4",),
        weights=(0.2, 0.8),
        read_threads=1,
        prefetch=4,
    ),
    optimizer=OptimizerConfig(kind="adam", learning_rate=1e-3, warmup_steps=50, warmup_factors=(0.1,)),
    train=TrainConfig(
        steps=100_000,
        batch_size=8,
        loss="snr",
        log_every=50,
        save_every=1000,
        evaluate_every=1000,
        validation_mixtures=48,
        audio_examples=0,
    ),
)
