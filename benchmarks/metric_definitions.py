"""The same estimates under each definition of SDR, for docs/metrics.md.

Run `python -m benchmarks.metric_definitions`: the bundled model separates the bundled demo set. Each row
changes the estimates in a way that one definition ignores and another does not. Needs `pip install
'audiosep_jax[benchmark]'`.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp
import numpy as np

import audiosep_jax
from audiosep_jax.encoders.base import load_encoder
from audiosep_jax.evals import bss, metrics
from audiosep_jax.evals.evaluation_set import load_evaluation_set, render_entries
from benchmarks import timing

_DELAY_SECONDS = 0.001

COLUMNS = ("SDR", "SDRi", "SI-SDR", "SI-SDR, mean removed", "BSSEval SDR", "SIR", "SAR")


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchmarkArgs:
    """Measure the same estimates under each definition of SDR."""

    evaluation_set: Path = timing.DEMO / "evaluation.json"
    """Mixtures to separate."""
    root: Path = timing.DEMO
    """Folder of the set's files."""
    checkpoint: Path | None = None
    """Folder of the model; without it the bundled one."""
    count: int = 20
    """Number of mixtures: the first of the set that contain the query's sound."""


def changes(sample_rate_hz: int) -> dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]]:
    """Returns functions from (estimate, mixture) to a changed estimate, `[samples]` each, by name."""
    delay = round(_DELAY_SECONDS * sample_rate_hz)
    return {
        "the mixture itself": lambda _, mixture: mixture,
        "estimate": lambda estimate, _: estimate,
        "estimate, half as loud": lambda estimate, _: 0.5 * estimate,
        "estimate, 1 ms late": lambda estimate, _: np.r_[np.zeros(delay), estimate[:-delay]],
        "estimate with an offset of 0.02": lambda estimate, _: estimate + 0.02,
    }


def values(target: np.ndarray, estimate: np.ndarray, mixture: np.ndarray) -> tuple[float, ...]:
    """Returns one value per column, in dB, for `[samples]` each."""
    parts = bss.bss_eval(target, mixture - target, estimate)
    return (
        float(metrics.sdr_db(target, estimate)),
        float(metrics.sdri_db(target, estimate, mixture)),
        float(metrics.si_sdr_db(target, estimate)),
        bss.si_sdr_zero_mean_db(target, estimate),
        parts.sdr_db,
        parts.sir_db,
        parts.sar_db,
    )


def report(args: BenchmarkArgs) -> str:
    """Separates, measures and returns a table."""
    chosen = load_evaluation_set(args.evaluation_set)
    entries = [entry for entry in chosen.entries if not entry.is_absent][: args.count]
    model = audiosep_jax.load(args.checkpoint)
    chosen = dataclasses.replace(chosen, sample_rate_hz=model.sample_rate_hz)
    mixtures, targets = render_entries(chosen, entries, root=args.root)
    conditions = load_encoder(model.config.query).encode([entry.query for entry in entries])
    estimates = np.asarray(model.apply(jnp.asarray(mixtures), jnp.asarray(conditions)))
    rows = []
    for name, change in changes(model.sample_rate_hz).items():
        measured = [
            values(
                target.astype(np.float64),
                change(estimate, mixture).astype(np.float64),
                mixture.astype(np.float64),
            )
            for target, estimate, mixture in zip(targets, estimates, mixtures, strict=True)
        ]
        rows.append([name, *(f"{mean:.2f}" for mean in np.mean(measured, axis=0))])
    title = f"{len(entries)} mixtures of {chosen.name}, {model.config.name}, means in dB"
    return f"{title}\n\n{timing.markdown(('estimate', *COLUMNS), rows)}"


if __name__ == "__main__":
    timing.run(report, BenchmarkArgs)
