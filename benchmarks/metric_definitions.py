"""The same estimates under every definition of SDR, for docs/metrics.md.

Run `python -m benchmarks.metric_definitions`: the bundled model separates the bundled demo set. Each row
changes the estimates in a way that one definition forgives and another does not. Needs `pip install
'audiosep_jax[benchmark]'`.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import tyro

import audiosep_jax
from audiosep_jax.encoders.base import load_encoder
from audiosep_jax.evals import bss, metrics
from audiosep_jax.evals.evaluation_set import load_evaluation_set, render_entries

_DEMO = Path(audiosep_jax.__file__).parent / "assets" / "demo"
_DELAY_SECONDS = 0.001

COLUMNS = ("SDR", "SDRi", "SI-SDR", "SI-SDR, mean removed", "BSSEval SDR", "SIR", "SAR")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DefinitionsArgs:
    """Measure the same estimates under each definition of SDR."""

    evaluation_set: Path = _DEMO / "evaluation.json"
    """Mixtures to separate."""
    root: Path = _DEMO
    """Folder of their files."""
    checkpoint: Path | None = None
    """Folder of the model; without it the bundled one separates."""
    count: int = 20
    """Mixtures, the first of the set whose query is heard in them."""


def changes(sample_rate_hz: int) -> dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]]:
    """Name -> what becomes of (estimate, mixture), `[samples]` each."""
    delay = round(_DELAY_SECONDS * sample_rate_hz)
    return {
        "the mixture itself": lambda _, mixture: mixture,
        "estimate": lambda estimate, _: estimate,
        "estimate, half as loud": lambda estimate, _: 0.5 * estimate,
        "estimate, 1 ms late": lambda estimate, _: np.r_[np.zeros(delay), estimate[:-delay]],
        "estimate with an offset of 0.02": lambda estimate, _: estimate + 0.02,
    }


def values(target: np.ndarray, estimate: np.ndarray, mixture: np.ndarray) -> tuple[float, ...]:
    """One value per column, in dB; `[samples]` each."""
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


def main(args: DefinitionsArgs) -> None:
    """Separates, measures and prints the table as Markdown."""
    chosen = load_evaluation_set(args.evaluation_set)
    entries = [entry for entry in chosen.entries if not entry.is_absent][: args.count]
    model = audiosep_jax.load(args.checkpoint)
    chosen = dataclasses.replace(chosen, sample_rate_hz=model.sample_rate_hz)
    mixtures, targets = render_entries(chosen, entries, root=args.root)
    conditions = load_encoder(model.config.query).encode([entry.query for entry in entries])
    estimates = np.asarray(model.apply(jnp.asarray(mixtures), jnp.asarray(conditions)))
    print(f"{len(entries)} mixtures of {chosen.name}, {model.config.name}, means in dB\n")
    print(f"| estimate | {' | '.join(COLUMNS)} |\n| --- |{' --- |' * len(COLUMNS)}")
    for name, change in changes(model.sample_rate_hz).items():
        rows = [
            values(
                target.astype(np.float64),
                change(estimate, mixture).astype(np.float64),
                mixture.astype(np.float64),
            )
            for target, estimate, mixture in zip(targets, estimates, mixtures, strict=True)
        ]
        print(f"| {name} | {' | '.join(f'{mean:.2f}' for mean in np.mean(rows, axis=0))} |")


if __name__ == "__main__":
    main(tyro.cli(DefinitionsArgs))
