"""Small sweeps: an evaluation set with its files, a sweep of given cells, and a fake program."""

import functools
import sys
from pathlib import Path

from audiosep_jax.config import ExperimentConfig, TrainConfig
from audiosep_jax.evals.evaluation_set import Entry, EvaluationSet, Source, save_evaluation_set
from audiosep_jax.sweeps import runner
from audiosep_jax.sweeps.definition import Evaluation, Sweep

FAKE = (sys.executable, str(Path(__file__).with_name("fake_audiosep.py")))
EXECUTION = functools.partial(runner.Execution, program=FAKE)
MIXTURES = 20


FILES = tuple(f"{number}.wav" for number in range(5))


def write_set(folder: Path, *, name: str = "small", files: tuple[str, ...] = FILES) -> Evaluation:
    """An evaluation set of 20 mixtures whose targets come from five files."""
    folder.mkdir(exist_ok=True)
    for file in files:
        (folder / file).touch()
    entries = [
        Entry(
            target=Source(file=files[index % 5], label="a"),
            interferer=Source(file=files[(index + 1) % 5], label="b"),
            caption="a sound",
        )
        for index in range(MIXTURES)
    ]
    path = folder / f"{name}.json"
    given = EvaluationSet(name=name, sample_rate_hz=8000, seconds=1.0, seed=0, entries=tuple(entries))
    save_evaluation_set(given, path)
    return Evaluation(evaluation_set=str(path), root=str(folder))


def small_sweep(folder: Path, *cells: str, steps: int = 2, seeds: tuple[int, ...] = (0,)) -> Sweep:
    """A sweep whose cells differ in their batch."""
    return Sweep(
        name="small",
        base=ExperimentConfig(train=TrainConfig(steps=steps)),
        cells={cell: {"train.batch_size": 1 + index} for index, cell in enumerate(cells)},
        seeds=seeds,
        evaluation=write_set(folder / "set"),
    )


def write_sweep(path: Path, sweep: Sweep) -> Path:
    """Writes a sweep as a file of its own."""
    path.write_text(
        "from audiosep_jax.config import *\n"
        "from audiosep_jax.sweeps.definition import Evaluation, Sweep\n"
        f"SWEEP = Sweep(name={sweep.name!r}, base={sweep.base!r}, cells={sweep.cells!r}, "
        f"seeds={sweep.seeds!r}, evaluation={sweep.evaluation!r})\n",
        "utf-8",
    )
    return path


def log(workdir: Path, cell: str, seed: int = 0) -> str:
    """What a run has printed so far."""
    (folder,) = (workdir / "runs").glob(f"{cell}-seed{seed}-*")
    path = folder / "log.txt"
    return path.read_text() if path.exists() else ""
