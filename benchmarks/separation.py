"""Speed of loading, separation and training on this machine.

Run `python -m benchmarks.separation`. A first call includes compilation. "× real time" is seconds of audio
per second of the median warm call.
"""

import dataclasses
from pathlib import Path

import jax
import numpy as np

import audiosep_jax
from audiosep_jax.encoders.base import load_encoder
from benchmarks import timing
from benchmarks.timing import Timing, repeated, timed
from benchmarks.train_step import make_batch, make_step

_QUERY = "a dog barks while rain falls on a tin roof"


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchmarkArgs:
    """Measure separation and training."""

    checkpoint: Path | None = None
    """Folder of the model; without it the bundled one is measured."""
    seconds: tuple[float, ...] = (5.0, 10.0, 60.0)
    """Lengths of the recordings, mono at the model's rate."""
    repeats: int = 5
    """Warm calls of each kind."""
    batch_size: int = 0
    """Mixtures per train step; 0 takes the experiment's."""


def measure(args: BenchmarkArgs) -> list[Timing]:
    """Times loading, a query, separations and a train step.

    Raises:
      AudioSepError: the checkpoint or the weights of its query encoder cannot be loaded.
    """
    # Start the backend, which is not part of loading the model.
    jax.block_until_ready(jax.numpy.zeros(1))
    model, load_seconds = timed(lambda: audiosep_jax.load(args.checkpoint))
    timings = [Timing(name="load the model", first=load_seconds)]
    config = model.config
    if config.query.encoder != "none":
        encoder, encoder_seconds = timed(lambda: load_encoder(config.query))
        timings.append(Timing(name="load the query encoder", first=encoder_seconds))
        timings.append(repeated("encode a query", lambda: encoder.encode([_QUERY]), repeats=args.repeats))
    rng = np.random.default_rng(0)
    condition = timing.unit(rng.standard_normal(config.model.condition_size))
    for seconds in args.seconds:
        waveform = 0.1 * rng.standard_normal(round(seconds * model.sample_rate_hz), np.float32)
        # A new model without compiled programs, because lengths share programs.
        fresh = audiosep_jax.load(args.checkpoint)
        timings.append(
            repeated(
                f"separate {seconds:g} s",
                lambda fresh=fresh, waveform=waveform: fresh.separate(
                    waveform, fresh.sample_rate_hz, condition=condition
                ),
                repeats=args.repeats,
                amount=seconds,
            )
        )
    batch_size, seconds = args.batch_size or config.train.batch_size, config.mixture.segment_seconds
    timings.append(
        repeated(
            f"train step, {batch_size} × {seconds:g} s",
            make_step(config, model.variables, make_batch(config, batch_size)),
            repeats=args.repeats,
            amount=batch_size * seconds,
        )
    )
    return timings


if __name__ == "__main__":
    timing.run(lambda args: timing.table(measure(args), speed="× real time"), BenchmarkArgs)
