"""`audiosep train`: trains an experiment, or goes on training it."""

import dataclasses
import functools
import json
from pathlib import Path
from typing import Annotated, Any

import tyro

from audiosep_jax.config import ExperimentConfig
from audiosep_jax.errors import ConfigError
from audiosep_jax.train.distributed import DistributedOptions, initialize, is_lead
from audiosep_jax.utils.python_files import load_name
from audiosep_jax.utils.serialization import from_dict, to_dict


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
    config = changed(load_experiment(args.experiment), args.set)
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


def load_experiment(path: Path) -> ExperimentConfig:
    """Returns the CONFIG of an experiment file.

    Raises:
      AudioSepError: the file is missing, does not run, or has no CONFIG.
    """
    wanted = "an experiment file, such as experiments/tiny.py"
    return load_name(path, "CONFIG", ExperimentConfig, wanted=wanted)


def changed(config: ExperimentConfig, changes: tuple[str, ...]) -> ExperimentConfig:
    """Returns the config with `FIELD=VALUE` changes, each checked like a config file.

    Raises:
      AudioSepError: a change has no `=`, names an unknown field or has a value of the wrong type.
    """
    values = to_dict(config)
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals:
            raise ConfigError(f"--set {change!r} has no '=': write FIELD=VALUE, such as train.steps=100.")
        place: Any = values
        *parents, leaf = name.split(".")
        for parent in parents:
            place = place.get(parent) if isinstance(place, dict) else None
        if not isinstance(place, dict) or leaf not in place:
            raise ConfigError(f"--set {change!r}: the config has no field {name}.")
        try:
            place[leaf] = json.loads(text)
        except ValueError:
            place[leaf] = text
    return from_dict(ExperimentConfig, values, where="--set")
