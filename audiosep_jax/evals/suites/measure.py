"""Measures one estimate: SDR, SI-SDR, speech metrics and CLAP scores."""

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from jaxtyping import Float, Float32

from audiosep_jax.audio.resample import resample
from audiosep_jax.errors import EvaluationError, shown
from audiosep_jax.evals import metrics
from audiosep_jax.evals.clap_score import measure_clap_scores
from audiosep_jax.evals.speech import speech_metrics
from audiosep_jax.evals.suites.mixtures import Row, Sound

SCORES = ("clap_score", "clap_score_i", "ref_clap_score")


class Tower(Protocol):
    """A CLAP, which embeds texts and sounds in one space."""

    def encode(self, texts: Sequence[str]) -> Float[np.ndarray, "n size"]:
        """Returns a vector per text."""
        ...

    def encode_audio(
        self, waveforms: Sequence[np.ndarray], *, sample_rate_hz: int
    ) -> Float[np.ndarray, "n size"]:
        """Returns a vector per waveform."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scorer:
    """A CLAP that scores estimates; scores of two fingerprints cannot be compared."""

    tower: Tower
    fingerprint: str


def at_measuring_rate(
    estimate: Float32[np.ndarray, " given"], sound: Sound, *, model_hz: int, measure_hz: int
) -> Float32[np.ndarray, " samples"]:
    """Returns an estimate at the rate and with the length of its target."""
    if model_hz == measure_hz:
        return estimate
    samples = len(sound.target)
    back = resample(estimate, from_hz=model_hz, to_hz=measure_hz)[:samples]
    return np.pad(back, (0, samples - len(back)))


def measure(
    row: Row, sound: Sound, estimate: Float32[np.ndarray, " samples"], *, measure_hz: int, speech: bool
) -> dict[str, float]:
    """Measures an estimate in float64: SDR, SI-SDR, their gains over the mixture; with `speech`, its metrics.

    Raises:
      EvaluationError: the estimate is not finite, or the speech is too short to be measured.
    """
    if not np.isfinite(estimate).all():
        raise EvaluationError(
            f"the estimate of mixture {shown(row.mixture.id)} of {row.mixture.dataset} is not finite: the "
            "model's parameters are damaged or its training diverged; take an earlier checkpoint."
        )
    measured = metrics.separation_metrics(sound.target, estimate, sound.mixture)
    values = {name: float(value) for name, value in measured.items()}
    if speech:
        values |= speech_metrics(sound.target, estimate, sample_rate_hz=measure_hz)
    return values


def score(
    rows: Sequence[Row],
    sounds: Sequence[Sound],
    estimates: Sequence[np.ndarray],
    *,
    tower: Tower,
    measure_hz: int,
) -> list[dict[str, float]]:
    """Returns the CLAP scores of each estimate, by the names of `SCORES`."""
    scores = measure_clap_scores(
        estimates,
        [row.query.text for row in rows],
        sample_rate_hz=measure_hz,
        encode_audio=tower.encode_audio,
        encode_text=tower.encode,
        targets=[sound.target for sound in sounds],
        mixtures=[sound.mixture for sound in sounds],
    )
    return [{name: float(getattr(scores, name)[place]) for name in SCORES} for place in range(len(rows))]
