"""CLAPScore, CLAPScore-i and RefCLAPScore: the similarity of an estimate to its query and to its target.

F. Xiao et al., "A Reference-free Metric for Language-Queried Audio Source Separation using Contrastive
Language-Audio Pretraining", DCASE Workshop 2024, arXiv 2407.04936; code:
github.com/LittleFlyingSheep/CLAPScore_for_LASS.

Scores of different CLAPs are not comparable, so the caller gives the CLAP, as two functions.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from audiosep_jax.errors import EvaluationError

Embeddings = Float[np.ndarray, "n size"]
Scores = Float[np.ndarray, " n"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClapScores:
    """Scores per estimate, cosines from -1 to 1, float64.

    Attributes:
      clap_score: estimate to query.
      clap_score_i: `clap_score` minus that of the mixture; None without mixtures.
      audio_similarity: estimate to target; None without targets.
      ref_clap_score: `harmonic_mean` of `clap_score` and `audio_similarity`; None without targets.
    """

    clap_score: Scores
    clap_score_i: Scores | None = None
    audio_similarity: Scores | None = None
    ref_clap_score: Scores | None = None


def measure_clap_scores(
    estimates: Sequence[np.ndarray],
    queries: Sequence[str],
    *,
    sample_rate_hz: int,
    encode_audio: Callable[..., np.ndarray],
    encode_text: Callable[[Sequence[str]], np.ndarray],
    targets: Sequence[np.ndarray] | None = None,
    mixtures: Sequence[np.ndarray] | None = None,
) -> ClapScores:
    """CLAPScore, CLAPScore-i (with mixtures) and RefCLAPScore (with targets) of estimates of any lengths.

    Equal queries are encoded once. `encode_audio` maps `(waveforms, *, sample_rate_hz)` and `encode_text`
    maps texts to `[n, size]` of one space.

    Raises:
      ValueError: the numbers of estimates, queries, targets and mixtures differ.
      EvaluationError: an embedding is zero or not finite.
    """
    counts = {len(given) for given in (estimates, queries, targets, mixtures) if given is not None}
    if counts != {len(estimates)} or not len(estimates):
        raise ValueError(f"one query, target and mixture per estimate are needed: got {sorted(counts)}.")
    distinct = list(dict.fromkeys(queries))
    places = {query: place for place, query in enumerate(distinct)}
    text = np.asarray(encode_text(distinct))[[places[query] for query in queries]]

    def embedded(waveforms: Sequence[np.ndarray]) -> Embeddings:
        return np.asarray(encode_audio(waveforms, sample_rate_hz=sample_rate_hz))

    audio = embedded(estimates)
    score = cosines(audio, text)
    improvement = similarity = reference = None
    if mixtures is not None:
        improvement = score - cosines(embedded(mixtures), text)
    if targets is not None:
        similarity = cosines(audio, embedded(targets))
        reference = harmonic_mean(score, similarity)
    return ClapScores(
        clap_score=score,
        clap_score_i=improvement,
        audio_similarity=similarity,
        ref_clap_score=reference,
    )


def cosines(first: Embeddings, second: Embeddings) -> Scores:
    """Cosine of each pair of rows, in float64; an EvaluationError where a row is zero or not finite."""
    if first.shape != second.shape:
        raise ValueError(f"embeddings must have one shape: got {first.shape} and {second.shape}.")
    rows = []
    for embeddings in (first, second):
        embeddings = embeddings.astype(np.float64)
        lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
        if not (np.isfinite(lengths) & (lengths > 0)).all():
            raise EvaluationError(
                "an embedding of the CLAP tower is zero or not finite, so its weights are damaged: download "
                "the tower again."
            )
        rows.append(embeddings / lengths)
    return (rows[0] * rows[1]).sum(1)


def harmonic_mean(first: Scores, second: Scores) -> Scores:
    """`2ab / (a + b)`, with cosines below 0 taken as 0, as in RefCLIPScore.

    J. Hessel et al., "CLIPScore: A Reference-free Evaluation Metric for Image Captioning", EMNLP 2021.

    Examples:
      >>> harmonic_mean(np.array([0.5, -0.1]), np.array([0.25, 0.9])).round(3)
      array([0.333, 0.   ])
    """
    first, second = np.maximum(first, 0.0), np.maximum(second, 0.0)
    total = first + second
    return np.divide(2 * first * second, total, out=np.zeros_like(total), where=total > 0)
