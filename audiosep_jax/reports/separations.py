"""The separations that a page shows: a recording with several queries, and mixtures of an evaluation."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from audiosep_jax.encoders import base
from audiosep_jax.errors import ReportError
from audiosep_jax.evals.evaluate import EvaluationResult
from audiosep_jax.evals.evaluation_set import EvaluationSet
from audiosep_jax.evals.picked_examples import Example, separate_picked
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
    """Separates an excerpt once per query.

    Args:
      model: separates.
      excerpt: of the recording.
      conditions: of every query, `[size]`.
      targets: `[channels, samples]`, the true sounds of the first queries.
      name: of the recording.
      progress: called with the queries done and the queries in all.
    """
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
    """Separates the best, median and worst mixture of an evaluation again.

    Args:
      model: the evaluated one.
      result: of the evaluation.
      evaluation_set: of the evaluation.
      root: folder that the set's file names start from.

    Raises:
      ReportError: model or sounds are not those of the evaluation.
    """
    if model.sample_rate_hz != result.model_sample_rate_hz:
        raise ReportError(
            f"the evaluated model works at {result.model_sample_rate_hz} Hz, and "
            f"this one at {model.sample_rate_hz} Hz: give the evaluated one as --checkpoint."
        )

    def apply(mixture: np.ndarray, condition: np.ndarray) -> jax.Array:
        return model.apply(jnp.asarray(mixture), jnp.asarray(condition))

    examples = dict(
        separate_picked(
            result,
            evaluation_set=evaluation_set,
            root=root,
            apply=apply,
            encode=base.load_encoder(model.config.query).encode,
            batch_size=1,
        )
    )
    check_reproduced(examples)
    return examples
