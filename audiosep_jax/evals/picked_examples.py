"""The best, the median and the worst mixture of an evaluation, separated again and drawn."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from audiosep_jax.evals.evaluate import Encode, EvaluationResult, ExampleResult, at_gain, resampled_apply
from audiosep_jax.evals.evaluation_set import EvaluationSet, render_entries
from audiosep_jax.evals.measure import Apply, filled
from audiosep_jax.plotting.spectrograms import draw_spectrograms
from audiosep_jax.plotting.style import save

if TYPE_CHECKING:
    from matplotlib.figure import Figure


PLACES = ("best", "median", "worst")


def pick(result: EvaluationResult) -> dict[str, ExampleResult]:
    """Returns the mixtures of highest, median and lowest SDRi by name; fewer where they coincide."""
    return _ranked(result.examples)


def pick_by_kind(result: EvaluationResult) -> dict[str, ExampleResult]:
    """Returns `pick` of each kind of target, named "best-KIND" and so on; `pick` if there are no kinds."""
    if not result.kinds:
        return pick(result)
    return {
        f"{place}-{kind.label}": row
        for kind in result.kinds
        for place, row in _ranked([row for row in result.examples if row.kind == kind.label]).items()
    }


def _ranked(rows: Sequence[ExampleResult]) -> dict[str, ExampleResult]:
    ranked = sorted(rows, key=lambda row: row.sdri_db)
    shown: dict[int, str] = {}
    for name, place in zip(PLACES, (len(ranked) - 1, (len(ranked) - 1) // 2, 0), strict=True):
        if ranked:
            shown.setdefault(place, name)
    return {name: ranked[place] for place, name in shown.items()}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Example:
    """A mixture of an evaluation, separated again: its result, and its waveforms `[samples]`."""

    row: ExampleResult
    sample_rate_hz: int
    mixture: Float[np.ndarray, " samples"]
    target: Float[np.ndarray, " samples"]
    estimate: Float[np.ndarray, " samples"]

    def draw(self) -> "Figure":
        """Draws the spectrograms of mixture, target, estimate and residual."""
        row = self.row
        return draw_spectrograms(
            {
                f"mixture: {_spaced(row.target_label)} + {_spaced(row.interferer_label)}": self.mixture,
                "target": self.target,
                f"estimate: SDRi {row.sdri_db:.1f} dB": self.estimate,
                "residual = mixture - estimate": self.mixture - self.estimate,
            },
            sample_rate_hz=self.sample_rate_hz,
            title=f"“{row.query}”",
        )


def separate_picked(
    result: EvaluationResult,
    picked: Mapping[str, ExampleResult],
    *,
    evaluation_set: EvaluationSet,
    root: str | Path,
    apply: Apply,
    encode: Encode,
    working_level_db: float | None = None,
    batch_size: int = 8,
) -> Iterator[tuple[str, Example]]:
    """Separates picked mixtures of a result again, and yields each with its name.

    The set, the model (`apply`, `encode` and working level) and the batch size are those of `evaluate`, so
    that nothing is compiled again.

    Raises:
      AudioFileError: a file of the set cannot be read.
    """
    at_set_rate = resampled_apply(
        apply,
        set_rate_hz=result.sample_rate_hz,
        model_rate_hz=result.model_sample_rate_hz,
        working_level_db=working_level_db,
    )
    at_set_rate = at_gain(at_set_rate, result.gain_db)
    for name, row in picked.items():
        mixture, target = render_entries(evaluation_set, [evaluation_set.entries[row.index]], root=root)
        condition = filled(encode([row.query]), batch_size)
        estimate = np.asarray(at_set_rate(filled(mixture, batch_size), condition))[0]
        yield (
            name,
            Example(
                row=row,
                sample_rate_hz=result.sample_rate_hz,
                mixture=mixture[0],
                target=target[0],
                estimate=estimate,
            ),
        )


def example_figures(
    result: EvaluationResult,
    folder: str | Path,
    *,
    evaluation_set: EvaluationSet,
    root: str | Path,
    apply: Apply,
    encode: Encode,
    working_level_db: float | None = None,
    batch_size: int = 8,
) -> list[Path]:
    """Writes `spectrograms-<best, median, worst>.png` of the mixtures of `pick`; returns their paths.

    Raises:
      AudioFileError: a file of the set cannot be read.
      StorageError: an image cannot be written.
    """
    paths = []
    for name, example in separate_picked(
        result,
        pick(result),
        evaluation_set=evaluation_set,
        root=root,
        apply=apply,
        encode=encode,
        working_level_db=working_level_db,
        batch_size=batch_size,
    ):
        paths.append(Path(folder) / f"spectrograms-{name}.png")
        save(example.draw(), paths[-1])
    return paths


def _spaced(label: str) -> str:
    return label.replace("_", " ")
