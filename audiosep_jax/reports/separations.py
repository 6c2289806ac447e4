"""The separations that a page shows: a recording with several queries, and mixtures of an evaluation."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from audiosep_jax.encoders import base
from audiosep_jax.errors import ReportError
from audiosep_jax.evals.evaluate import EvaluationResult
from audiosep_jax.evals.evaluation_set import EvaluationSet
from audiosep_jax.evals.picked_examples import Example, pick_by_kind, separate_picked
from audiosep_jax.reports.excerpt import Excerpt
from audiosep_jax.reports.result_file import check_reproduced
from audiosep_jax.reports.separation_page import Answer, SeparatedMixture
from audiosep_jax.separation.api import AudioSep


def separate_excerpt(
    model: AudioSep,
    excerpt: Excerpt,
    conditions: Mapping[str, np.ndarray],
    targets: Sequence[np.ndarray],
    *,
    name: str,
    progress: Callable[[int, int], None],
) -> SeparatedMixture:
    """Separates an excerpt once per query; `targets` are the true sounds of the first queries."""
    answers = []
    for (query, condition), target in itertools.zip_longest(conditions.items(), targets):
        found = model.separate(excerpt.waveform, excerpt.sample_rate_hz, condition=condition)
        answers.append(Answer(query=query, estimate=found.estimate, residual=found.residual, target=target))
        progress(len(answers), len(conditions))
    return SeparatedMixture(
        name=name,
        model=model.config.name,
        waveform=excerpt.waveform,
        sample_rate_hz=excerpt.sample_rate_hz,
        cut=excerpt.cut,
        answers=tuple(answers),
    )


def separate_examples(
    model: AudioSep, result: EvaluationResult, evaluation_set: EvaluationSet, *, root: Path
) -> dict[str, Example]:
    """Separates the best, median and worst mixture of each kind, or of all without kinds, again.

    Raises:
      ReportError: model or sounds are not those of the evaluation.
    """
    if model.sample_rate_hz != result.model_sample_rate_hz:
        raise ReportError(
            f"the evaluated model works at {result.model_sample_rate_hz} Hz, and "
            f"this one at {model.sample_rate_hz} Hz: give the evaluated one as --checkpoint."
        )

    examples = dict(
        separate_picked(
            result,
            pick_by_kind(result),
            evaluation_set=evaluation_set,
            root=root,
            apply=lambda mixture, condition: model.apply(jnp.asarray(mixture), jnp.asarray(condition)),
            encode=base.load_encoder(model.config.query).encode,
            working_level_db=model.config.model.working_level_db,
            batch_size=1,
        )
    )
    check_reproduced(examples)
    return examples
