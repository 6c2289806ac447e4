r"""audiosep-open on one GPU: all sound in one file of at most 50 MB, and a training of a number of minutes.

  python -m experiments.open_gpu pack --out open.pack
  python -m experiments.open_gpu train open.pack --minutes 8 --workdir runs/gpu

The first command needs the prepared datasets (docs/open_gpu.md), the second only the file. With several GPUs
or TPUs, `audiosep train experiments/open_gpu.py --workdir runs/gpu` trains the same config from the datasets,
for a number of steps.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated

import tyro

from audiosep_jax.config import (
    AugmentConfig,
    ExecutionConfig,
    MixtureConfig,
    OptimizerConfig,
)
from audiosep_jax.config.loading import apply_overrides
from audiosep_jax.errors import AudioSepError, Stopped
from experiments.open import CONFIG as OPEN

CONFIG = dataclasses.replace(
    OPEN,
    name="audiosep-open-gpu",
    mixture=MixtureConfig(
        sources=3,
        fewest_sources=2,
        gain_range_db=(-5, 5),
        segment_seconds=4.0,
        level_range_db=(-15.0, 5.0),
        absent_probability=0.1,
    ),
    augment=AugmentConfig(speed_range=(0.85, 1.18), equalizer_db=3.0, low_pass_share=0.2, reverb_share=0.2),
    data=dataclasses.replace(
        OPEN.data, validation=("data/esc10:fold4", "data/open_sounds:heldout"), label_balance=0.5
    ),
    optimizer=OptimizerConfig(kind="adam", learning_rate=2e-3, warmup_steps=500, warmup_factors=(0.1,)),
    execution=ExecutionConfig(compute="bfloat16"),
    train=dataclasses.replace(
        OPEN.train,
        batch_size=128,
        ema_decay=0.999,
        on_non_finite="skip",
        validation_mixtures=128,
        save_minutes=1.0,
    ),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pack:
    """Pack the sound, the captions' conditions and the validation mixtures into one file."""

    out: Path
    """The file to write."""
    datasets: tuple[str, ...] = CONFIG.data.datasets
    """Prepared datasets to train on, each FOLDER or FOLDER:SPLIT+SPLIT."""
    validation: tuple[str, ...] = CONFIG.data.validation
    """Prepared datasets whose mixtures are measured while the model trains."""
    max_megabytes: float = 50.0
    """Largest size of the file. If not all sound fits, labels with much sound lose some."""
    kilobits: float = 24.0
    """Bitrate of the sound."""
    clip_seconds: float = 5.0
    """Longer clips are cut to this, from their first active sample on; 0 cuts none."""
    set: tuple[str, ...] = ()
    """Changes of the config, as FIELD=VALUE: query.source=FOLDER, model.sample_rate_hz=16000."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Train:
    """Train for a number of minutes, or resume such a training."""

    pack: Annotated[Path, tyro.conf.Positional]
    """The packed file."""
    workdir: Path
    """Folder of the run: checkpoint/ (the model), best/, metrics.jsonl, checkpoints/. It is resumed."""
    minutes: float
    """Duration, counted from the first step on, validation included."""
    set: tuple[str, ...] = ()
    """Changes of the config, as FIELD=VALUE: train.batch_size=32 optimizer.learning_rate=1e-3."""


def pack(args: Pack) -> None:
    """Writes a pack and prints what it holds."""
    from audiosep_jax.encoders.base import load_encoder
    from audiosep_jax.encoders.cache import ConditionCache
    from data_pipelines.mixtures import clip_index, pack_builder, sound_pack

    config = apply_overrides(CONFIG, args.set)
    folders = dict.fromkeys(clip_index.folder_of(entry)[0] for entry in (*args.datasets, *args.validation))
    made, report = pack_builder.build(
        args.datasets,
        args.validation,
        conditions=ConditionCache(load_encoder(config.query), beside=list(folders)).conditions,
        encoder=config.query.encoder,
        sample_rate_hz=config.model.sample_rate_hz,
        options=pack_builder.PackOptions(
            megabytes=args.max_megabytes,
            kilobits=args.kilobits,
            clip_seconds=args.clip_seconds,
            validation_mixtures=config.train.validation_mixtures,
        ),
        say=lambda line: print(line, flush=True),
    )
    sound_pack.write(args.out, made)
    limit = "no label is limited"
    if report.limited_labels:
        limit = f"{report.limited_labels} labels are limited to {report.label_seconds:.0f} s each"
    print(
        f"{args.out}: {args.out.stat().st_size / 1e6:.1f} MB; {report.clips} of {report.all_clips} clips, "
        f"{report.seconds / 3600:.2f} of {report.all_seconds / 3600:.2f} hours at {report.kilobits:.1f} "
        f"kbit/s; {limit}"
    )


def train(args: Train) -> None:
    """Trains and prints the folder of the model."""
    from audiosep_jax.train import timed_run

    result = timed_run.train(apply_overrides(CONFIG, args.set), args.pack, args.workdir, minutes=args.minutes)
    print(
        f"{result.steps} steps in {result.seconds / 60:.1f} minutes, validation SDRi "
        f"{result.sdri_db:.2f} dB; the model is in {result.checkpoint}"
    )


def main() -> int:
    """Runs `pack` or `train` and returns the exit status, as `audiosep` does."""
    from audiosep_jax.utils.devices import skip_libtpu_without_tpu
    from audiosep_jax.utils.xla_cache import use_cache

    use_cache()
    skip_libtpu_without_tpu()
    args = tyro.extras.subcommand_cli_from_dict({"pack": Pack, "train": Train}, prog="open_gpu")
    try:
        pack(args) if isinstance(args, Pack) else train(args)
    except AudioSepError as error:
        print(f"open_gpu: error: {error}", file=sys.stderr)
        return error.status
    except Stopped as stopped:
        print(f"open_gpu: stopped by signal {stopped.number}; the same command resumes", file=sys.stderr)
        return 128 + stopped.number
    return 0


if __name__ == "__main__":
    sys.exit(main())
