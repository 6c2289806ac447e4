r"""The released AudioSep checkpoint: its model and its recipe.

  audiosep convert music_speech_audioset_epoch_15_esc_89.98.pt checkpoints/clap
  audiosep prepare audio_folder --source AUDIOSET --out data/audioset   # and so on, for each dataset below
  audiosep train experiments/base.py --workdir runs/base

For eight accelerators with 12 examples each, a million steps. The condition is CLAP's embedding of the
caption, from the LAION checkpoint that the released model was trained with (the first command converts it).
`--set query.text_ratio=0.5` takes half of the conditions from the sound of the target.

Reached here: not yet measured. The reference reports SDRi 9.144 dB on VGGSound, 10.508 on MUSIC, 10.040 on
ESC-50, 7.739 on AudioSet, 8.220 on AudioCaps and 6.850 on Clotho.
"""

from audiosep_jax.config import (
    DataConfig,
    ExecutionConfig,
    ExperimentConfig,
    MixtureConfig,
    ModelConfig,
    OptimizerConfig,
    QueryConfig,
    TrainConfig,
)

CONFIG = ExperimentConfig(
    name="audiosep-base",
    model=ModelConfig(
        sample_rate_hz=32_000,
        window_length=2048,
        hop_length=320,
        encoder_widths=(32, 64, 128, 256, 384, 384),
        bottleneck_blocks=1,
        film="shift",
        condition_size=512,
    ),
    query=QueryConfig(encoder="clap", source="checkpoints/clap"),
    mixture=MixtureConfig(sources=2, gain_range_db=(-10, 10), segment_seconds=5.0),
    data=DataConfig(
        datasets=(
            "data/audioset:train",
            "data/vggsound:train",
            "data/audiocaps:train",
            "data/clotho:train",
            "data/wavcaps:train",
        ),
        validation=("data/audiocaps:validation",),
    ),
    optimizer=OptimizerConfig(
        kind="adamw_amsgrad",
        learning_rate=1e-3,
        weight_decay=0.0,
        warmup_steps=10_000,
        warmup_factors=(0.001, 0.01, 0.1),
    ),
    execution=ExecutionConfig(compute="bfloat16", remat="activations"),
    train=TrainConfig(
        steps=1_000_000,
        batch_size=96,
        loss="l1",
        save_every=5_000,
        save_minutes=20,
        keep_checkpoints=3,
        keep_every=100_000,
        on_non_finite="skip",
    ),
)
