"""Speed of a train step on this machine, ours and that of a PyTorch twin.

Run `python -m benchmarks.train_step`. Both start from the same weights and take the same batch. Their steps
alternate, so that other work on the machine slows both. Their losses are compared, because a twin that
computes something else is no comparison. The twin runs in a process of its own, with the Python of
`--torch-python` or with this one (`pip install -e '.[bench]'`).
"""

import dataclasses
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from audiosep_jax.config import ExecutionConfig, ExperimentConfig
from audiosep_jax.config.loading import load_experiment
from audiosep_jax.errors import UsageError
from audiosep_jax.models import separator
from audiosep_jax.train import mesh as meshes
from audiosep_jax.train import state as states
from audiosep_jax.train.optimizer import make_optimizer, make_schedule
from audiosep_jax.train.step import make_train_step
from benchmarks import timing
from benchmarks.timing import Timing, timed
from benchmarks.workers import twin, write_twin

# Losses of the first step differ by rounding alone.
_LOSS_TOLERANCE = 1e-4


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchmarkArgs:
    """Measure a train step beside its PyTorch twin."""

    experiment: Path = Path("experiments/base.py")
    """Experiment file; its model must be of the released kind, its optimizer adamw_amsgrad."""
    batch_size: int = 2
    """Mixtures per step."""
    repeats: int = 5
    """Warm steps of each side."""
    torch_python: Path = Path(sys.executable)
    """A Python that has PyTorch."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """Steps and losses of both sides, in the order in which they ran; the losses include the first step's."""

    ours: Timing
    theirs: Timing
    losses: tuple[tuple[float, ...], tuple[float, ...]]
    torch: str

    @property
    def ratio(self) -> float:
        """The twin's median time over ours; above 1, ours is faster."""
        return statistics.median(self.theirs.warm) / statistics.median(self.ours.warm)


def make_batch(config: ExperimentConfig, batch_size: int) -> dict[str, np.ndarray]:
    """Returns noise in place of clips, and random conditions."""
    rng = np.random.default_rng(0)
    sources, seconds = config.mixture.sources, config.mixture.segment_seconds
    samples = round(seconds * config.model.sample_rate_hz)
    condition = timing.unit(rng.standard_normal((batch_size, config.model.condition_size)))
    return {
        "segments": 0.1 * rng.standard_normal((batch_size, sources, samples), np.float32),
        "gains_db": rng.integers(-10, 11, (batch_size, sources)).astype(np.int32),
        "level_db": np.zeros(batch_size, np.float32),
        "absent": np.zeros(batch_size, bool),
        "condition": condition,
    }


def make_step(
    config: ExperimentConfig, variables: separator.Variables, batch: dict[str, np.ndarray]
) -> Callable[[], float]:
    """Returns a function that takes a train step, waits for it and returns its loss.

    Raises:
      AudioSepError: the batch cannot be split over the devices.
    """
    mesh = meshes.make_mesh(config.mesh)
    meshes.check_batch_size(len(batch["condition"]), mesh, microbatches=config.execution.microbatches)
    optimizer = make_optimizer(config.optimizer, config.train.steps)
    average = config.train.ema_decay > 0
    state = states.create(config.model, optimizer, jax.random.key(0), variables=variables, average=average)
    state = meshes.put_state(mesh, state)
    arrays = meshes.put_batch(mesh, batch, microbatches=config.execution.microbatches)
    with jax.set_mesh(mesh):
        step = make_train_step(config, optimizer, mesh)

    def once() -> float:
        nonlocal state
        with jax.set_mesh(mesh):
            state, metrics = step(state, arrays)
        jax.block_until_ready(state)
        return float(metrics.loss)

    return once


def measure(args: BenchmarkArgs) -> Comparison:
    """Runs steps of both sides in turns.

    Raises:
      AudioSepError: PyTorch is missing, the experiment has no twin, or the twin computes something else.
    """
    config = load_experiment(args.experiment)
    if config.optimizer.kind != "adamw_amsgrad" or config.train.loss != "l1":
        raise UsageError(
            f"{args.experiment}: the PyTorch twin trains with adamw_amsgrad and the l1 loss, not with "
            f"{config.optimizer.kind} and {config.train.loss}."
        )
    # Like the twin: compute in float32, and keep what the backward pass needs.
    config = dataclasses.replace(config, execution=ExecutionConfig().on(jax.default_backend()))
    variables = separator.init(config.model, jax.random.key(0))
    batch = make_batch(config, args.batch_size)
    optimizer = {
        "lr": np.asarray(make_schedule(config.optimizer, config.train.steps)(0)).item(),
        "betas": (config.optimizer.beta1, config.optimizer.beta2),
        "eps": config.optimizer.epsilon,
        "weight_decay": config.optimizer.weight_decay,
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_twin(folder, config.model, variables, optimizer=optimizer)
        np.savez(folder / "batch.npz", **batch)  # pyright: ignore[reportArgumentType]
        with twin(args.torch_python, folder) as (started, ask):
            steps = {"ours": make_step(config, variables, batch), "theirs": lambda: ask({})["loss"]}
            seconds = {name: [] for name in steps}
            losses = {name: [] for name in steps}
            for _ in range(args.repeats + 1):
                for name, step in steps.items():
                    loss, duration = timed(step)
                    seconds[name].append(duration)
                    losses[name].append(loss)
    difference = abs(losses["ours"][0] / losses["theirs"][0] - 1)
    if not difference < _LOSS_TOLERANCE:
        raise UsageError(
            f"the twins do not compute the same: our first loss is {losses['ours'][0]:.7f}, PyTorch's "
            f"{losses['theirs'][0]:.7f}."
        )
    amount = args.batch_size * config.mixture.segment_seconds
    torch = f"{started['torch']}, {started['threads']} threads"
    titles = {"ours": "audiosep_jax", "theirs": f"PyTorch {torch}"}
    timings = {
        name: Timing(name=titles[name], first=first, warm=tuple(warm), amount=amount)
        for name, (first, *warm) in seconds.items()
    }
    return Comparison(**timings, losses=(tuple(losses["ours"]), tuple(losses["theirs"])), torch=torch)


def report(args: BenchmarkArgs) -> str:
    """Measures and returns a table, the ratio and the losses."""
    found = measure(args)
    rows = timing.table([found.ours, found.theirs], speed="× real time")
    fastest = min(found.theirs.warm) / min(found.ours.warm)
    last = [losses[-1] for losses in found.losses]
    return (
        f"{rows}\n\nPyTorch's time ÷ ours: {found.ratio:.2f} of the medians, {fastest:.2f} of the fastest.\n"
        f"Loss of the last step: {last[0]:.6f} here, {last[1]:.6f} in PyTorch."
    )


if __name__ == "__main__":
    timing.run(report, BenchmarkArgs)
