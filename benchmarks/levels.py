"""Quality by the level of the recording, with and without the model's working level, on the demo's mixtures.

Run `python -m benchmarks.levels`. The first table scales every mixture by a gain, separates it, and scales
the estimate back. The second brings every mixture to a level and gives it to the model as it is: the best row
is the model's `working_level_db`.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

import audiosep_jax
from audiosep_jax.audio.levels import row_gains
from audiosep_jax.evals.evaluation_set import load_evaluation_set, render_entries
from audiosep_jax.evals.metrics import sdri_db
from audiosep_jax.separation.live import LiveSeparator
from audiosep_jax.separation.options import Level
from benchmarks import timing


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchmarkArgs:
    """Separate recordings at several levels."""

    checkpoint: str | None = None
    """Folder or name of the model; without it the bundled one is measured."""
    gains_db: tuple[float, ...] = (-50, -45, -40, -35, -30, -25, -20, -15, -10, -5, 0, 5, 10)
    """Gains of the first table."""
    levels_db: tuple[float, ...] = (-40, -37, -34, -31, -28, -25, -22, -19, -16)
    """Levels of the second table, in dBFS."""
    mixtures: int = 21
    """Number of mixtures, the first of the demo's evaluation set."""
    live: bool = False
    """Separate with the windows of live sound."""


def measure(args: BenchmarkArgs) -> tuple[dict[float, dict[Level, float]], dict[float, float]]:
    """Returns the mean SDRi in dB by gain and option, and by the level that the model gets.

    Raises:
      AudioSepError: the model cannot be loaded.
    """
    # What is absent by the model's calibration is measured, too.
    model = dataclasses.replace(audiosep_jax.load(args.checkpoint), calibration=None)
    demo = load_evaluation_set(timing.DEMO / "evaluation.json")
    entries, rate = demo.entries[: args.mixtures], demo.sample_rate_hz
    mixtures, targets = render_entries(demo, entries, root=timing.DEMO)
    conditions = [model.condition(query=entry.query) for entry in entries]

    def mean(gains: np.ndarray, level: Level) -> float:
        found = []
        for mixture, target, condition, gain in zip(mixtures, targets, conditions, gains, strict=True):
            scaled = mixture * gain
            if args.live:
                live = LiveSeparator(model, sample_rate_hz=rate, condition=condition, level=level)
                estimate = np.concatenate([live.push(scaled), live.flush()[0]])[live.latency_samples :]
            else:
                estimate = model.separate(scaled, rate, condition=condition, level=level).estimate
            found.append(float(sdri_db(target, estimate / gain, mixture)))
        return float(np.mean(found))

    by_gain: dict[float, dict[Level, float]] = {}
    for gain_db in args.gains_db:
        gains = np.full(len(mixtures), 10 ** (gain_db / 20), np.float32)
        by_gain[gain_db] = {level: mean(gains, level) for level in ("as_is", "working")}
    by_level = {}
    for level_db in args.levels_db:
        gains = row_gains(mixtures, sample_rate_hz=rate, working_level_db=level_db)[:, 0]
        by_level[level_db] = mean(gains, "as_is")
    return by_gain, by_level


def table(by_gain: dict[float, dict[Level, float]], by_level: dict[float, float]) -> str:
    """Returns both as Markdown tables."""
    first = [
        [f"{gain:+.0f} dB", f"{found['as_is']:.2f} dB", f"{found['working']:.2f} dB"]
        for gain, found in by_gain.items()
    ]
    second: Sequence[Sequence[str]] = [
        [f"{level:.0f} dBFS", f"{found:.2f} dB"] for level, found in by_level.items()
    ]
    return "\n\n".join(
        (
            timing.markdown(("gain of the recording", "as it is", "working level"), first),
            timing.markdown(("level at the model", "SDRi"), second),
        )
    )


if __name__ == "__main__":
    timing.run(lambda args: table(*measure(args)), BenchmarkArgs)
