"""`audiosep train`: trains an experiment, or goes on training it."""

import dataclasses
import functools
from pathlib import Path
from typing import Annotated

import tyro

from audiosep_jax.config.loading import apply_overrides, load_experiment
from audiosep_jax.train.distributed import DistributedOptions, initialize, is_lead


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainArgs:
    """Train an experiment, or go on training it."""

    experiment: Annotated[Path, tyro.conf.Positional]
    """Python file that defines CONFIG, such as experiments/tiny.py."""
    workdir: str
    """Folder of the run, or gs://BUCKET/RUN: checkpoints, metrics.jsonl, TensorBoard, models. A run there
    goes on."""
    resume: bool = True
    """Go on with the run in --workdir; --no-resume refuses a folder that already holds one."""
    set: tuple[str, ...] = ()
    """Changes of the config, as FIELD=VALUE with a JSON value: train.steps=100 mixture.sources=3."""
    coordinator: str = ""
    """HOST:PORT of process 0 where several processes train together. TPU pods, SLURM and Kubernetes tell it
    by themselves, and the two below with it."""
    process_index: int | None = None
    """Which of the processes this is, from 0 on."""
    process_count: int | None = None
    """How many processes train together; 1 trains in this one alone, whatever the cluster says."""
    wait_seconds: int = 300
    """How long processes wait for each other at the start."""
    executable: Path | None = None
    """File that `audiosep compile --save` wrote for these devices, to start without compiling."""


def run(args: TrainArgs) -> int:
    """Trains and prints where the model lies."""
    config = apply_overrides(load_experiment(args.experiment), args.set)
    options = DistributedOptions(
        coordinator=args.coordinator,
        process_index=args.process_index,
        process_count=args.process_count,
        wait_seconds=args.wait_seconds,
    )
    initialize(options)
    from audiosep_jax.train.shutdown import ending_together

    with ending_together():
        from audiosep_jax.train.loop import train

        how = {}
        if args.executable is not None:
            from audiosep_jax.aot.executable import load_executable

            how["load_step"] = functools.partial(load_executable, args.executable)
        result = train(config, args.workdir, resume=args.resume, **how)
    if is_lead():
        print(f"trained {config.train.steps} steps; the model is in {result.checkpoint}")
    return 0
