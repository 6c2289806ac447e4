"""`audiosep train`: trains an experiment, or resumes its training."""

import dataclasses
import functools
from pathlib import Path
from typing import Annotated

import tyro

from audiosep_jax.config.loading import apply_overrides, load_experiment
from audiosep_jax.train.distributed import DistributedOptions, initialize, is_lead


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainArgs:
    """Train an experiment, or resume its training."""

    experiment: Annotated[Path, tyro.conf.Positional]
    """Python file that defines CONFIG, such as experiments/tiny.py."""
    workdir: str
    """Folder of the run, or gs://BUCKET/RUN: checkpoints, metrics.jsonl, TensorBoard, models. A run in it is
    resumed."""
    resume: bool = True
    """Resume the run in --workdir; --no-resume refuses a folder that already holds one."""
    set: tuple[str, ...] = ()
    """Changes of the config, as FIELD=VALUE with a JSON value: train.steps=100 mixture.sources=3."""
    coordinator: str = ""
    """HOST:PORT of process 0, if several processes train together. JAX detects TPU pods,
    SLURM and Kubernetes without --coordinator, --process-index and --process-count."""
    process_index: int | None = None
    """Index of this process, from 0."""
    process_count: int | None = None
    """Number of processes that train together; 1 trains in this process alone, even in a cluster."""
    wait_seconds: int = 300
    """Longest wait for the other processes at the start."""
    executable: Path | None = None
    """File that `audiosep compile --save` wrote for these devices, to start without compiling."""


def run(args: TrainArgs) -> int:
    """Trains and prints the folder of the model."""
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
