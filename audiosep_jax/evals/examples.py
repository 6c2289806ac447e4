"""Shows single mixtures of an evaluation: the best, the middle and the worst, as spectrograms."""

from pathlib import Path

import numpy as np

from audiosep_jax.evals.evaluate import Encode, EvaluationResult, ExampleResult, resampled_apply
from audiosep_jax.evals.evaluation_set import EvaluationSet, render_entries
from audiosep_jax.evals.measure import Apply, filled
from audiosep_jax.evals.spectrogram import spectrogram_figure


def pick(result: EvaluationResult) -> dict[str, ExampleResult]:
    """Returns the mixtures of highest, median and lowest SDRi, as far as they are different ones."""
    ranked = sorted(result.examples, key=lambda row: row.sdri_db)
    places = {"best": len(ranked) - 1, "median": (len(ranked) - 1) // 2, "worst": 0}
    shown: dict[int, str] = {}
    for name, place in places.items():
        if ranked:
            shown.setdefault(place, name)
    return {name: ranked[place] for place, name in shown.items()}


def example_figures(
    result: EvaluationResult,
    folder: str | Path,
    *,
    evaluation_set: EvaluationSet,
    root: str | Path,
    apply: Apply,
    encode: Encode,
    batch_size: int = 8,
) -> list[Path]:
    """Separates the picked mixtures once more and writes `spectrograms-<best, median, worst>.png`.

    Args:
      result: of `evaluate` on the set with the same model.
      folder: where the images go.
      evaluation_set: the mixtures.
      root: folder of their files.
      apply: `(mixture [batch, samples], condition [batch, size]) -> estimate [batch, samples]`.
      encode: `queries -> condition [queries, size]`.
      batch_size: that `evaluate` used, so that nothing is compiled again.

    Returns:
      The paths of the images.

    Raises:
      AudioSepError: a file of the set cannot be read, or an image cannot be written.
    """
    at_set_rate = resampled_apply(
        apply, set_rate_hz=result.sample_rate_hz, model_rate_hz=result.model_sample_rate_hz
    )
    paths = []
    for name, row in pick(result).items():
        mixture, target = render_entries(evaluation_set, [evaluation_set.entries[row.index]], root=root)
        condition = filled(encode([row.query]), batch_size)
        estimate = np.asarray(at_set_rate(filled(mixture, batch_size), condition))[0]
        paths.append(Path(folder) / f"spectrograms-{name}.png")
        spectrogram_figure(
            {
                f"mixture: {_spaced(row.target_label)} + {_spaced(row.interferer_label)}": mixture[0],
                "target": target[0],
                f"estimate: SDRi {row.sdri_db:.1f} dB": estimate,
                "residual = mixture - estimate": mixture[0] - estimate,
            },
            paths[-1],
            sample_rate_hz=result.sample_rate_hz,
            title=f"“{row.query}”",
        )
    return paths


def _spaced(label: str) -> str:
    return label.replace("_", " ")
