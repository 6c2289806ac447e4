"""What describes a sound: sentences, examples and vectors, averaged, and what must not be in it."""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np
from jaxtyping import Float, Float32

from audiosep_jax.errors import QueryError, shown
from audiosep_jax.separation.example_queries import AudioExample, ImageExample

# How a sentence is said in other words; it stands where the dots are.
PARAPHRASES = ("…", "the sound of …", "a recording of …", "… can be heard")

# A condition whose length is this far from one is not of unit length.
_UNIT_TOLERANCE = 1e-3


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Query:
    """One sound to extract, or to take out.

    All parts that describe the sound are averaged into one condition, of unit length where those of the parts
    are. With `without` alone the sound is everything else: the recording minus what `without` describes.

    Attributes:
      text: a sentence, or several that say the same in other words.
      audio: an example of the sound: a file, or a pair of waveform and rate in Hz ("clap" only).
      images: pictures of its source, which count as one part ("clip" only).
      condition: `[condition_size]`, a vector of the model's query space.
      weights: of the parts in the mean, one per sentence, example, pictures and vector in this order;
        positive, only their ratios count. None weighs all alike.
      paraphrase: every sentence counts as the mean of itself and three ways to say it (`PARAPHRASES`).
      without: sounds that must not be in the result, each a sentence or a `Query` of its own. Of every place
        in time and frequency the result keeps |p|² / (|p|² + Σ|n|²), where p is what the query and n what
        a negative one extracts.
    """

    text: str | Sequence[str] = ()
    audio: AudioExample | None = None
    images: ImageExample | Sequence[ImageExample] | None = None
    condition: Float[np.ndarray, " size"] | None = None
    weights: Sequence[float] | None = None
    paraphrase: bool = False
    without: "str | Query | Sequence[str | Query]" = ()

    def __post_init__(self) -> None:
        if not self.parts and not self.negatives:
            raise QueryError(
                "A query describes nothing: give a sentence, an example, a vector, or what the result is to "
                "be without."
            )
        if self.weights is not None:
            if len(self.weights) != self.parts:
                raise QueryError(
                    f"A query has {self.parts} part(s) and {len(self.weights)} weight(s): give one for each."
                )
            if not all(math.isfinite(weight) and weight > 0 for weight in self.weights):
                raise QueryError(
                    f"The weights {list(self.weights)} are not all positive: for what must not be heard "
                    "there is `without`."
                )
        for negative in self.negatives:
            if negative.negatives or not negative.parts:
                raise QueryError("What a query is without cannot be without something itself.")

    @property
    def texts(self) -> tuple[str, ...]:
        """The sentences."""
        return (self.text,) if isinstance(self.text, str) else tuple(self.text)

    @property
    def wordings(self) -> tuple[tuple[str, ...], ...]:
        """What is averaged of each sentence."""
        patterns = PARAPHRASES if self.paraphrase else PARAPHRASES[:1]
        return tuple(tuple(pattern.replace("…", text) for pattern in patterns) for text in self.texts)

    @property
    def parts(self) -> int:
        """How many conditions are averaged; 0 if there is only what the result is without."""
        return len(self.texts) + sum(part is not None for part in (self.audio, self.images, self.condition))

    @property
    def negatives(self) -> "tuple[Query, ...]":
        """What must not be in the result."""
        several = isinstance(self.without, Sequence) and not isinstance(self.without, str)
        return as_queries(self.without if several else [self.without])  # pyright: ignore[reportArgumentType]

    @property
    def name(self) -> str:
        """How messages call it: the first sentence, or what there is instead."""
        if not self.parts:
            return "everything but " + ", ".join(negative.name for negative in self.negatives)
        if self.texts:
            return shown(self.texts[0])
        kinds = {"the audio query": self.audio, "the image query": self.images}
        return next((name for name, part in kinds.items() if part is not None), "the condition")


QueryLike: TypeAlias = str | Query


def as_queries(queries: Iterable[QueryLike]) -> tuple[Query, ...]:
    """Returns sentences and queries as queries.

    Raises:
      AudioSepError: something is neither.
    """
    for query in queries:
        if not isinstance(query, str | Query):
            raise QueryError(
                f"A query of type {type(query).__name__} was given: a sentence or an audiosep_jax.Query is "
                "needed."
            )
    return tuple(Query(text=query) if isinstance(query, str) else query for query in queries)


def described(
    query: QueryLike | None = None,
    query_audio: AudioExample | None = None,
    query_images: ImageExample | Sequence[ImageExample] | None = None,
    condition: Float[np.ndarray, " size"] | None = None,
    without: QueryLike | Sequence[QueryLike] = (),
) -> Query:
    """Returns what the arguments of `AudioSep.separate` describe as one query.

    Raises:
      AudioSepError: not exactly one of the first four was given, nor none of them and `without`.
    """
    given = {
        "query": query,
        "query_audio": query_audio,
        "query_images": query_images,
        "condition": condition,
    }
    names = [name for name, value in given.items() if value is not None]
    takes_out = isinstance(without, str | Query) or len(without) > 0
    if len(names) > 1 or not (names or takes_out):
        raise QueryError(
            "Give either a query (a sentence), or query_audio, or query_images, or a condition (a "
            f"vector): exactly one is needed, and {' and '.join(names) or 'none'} came."
        )
    if not isinstance(query, Query):
        text = () if query is None else as_queries([query])[0].text
        return Query(text=text, audio=query_audio, images=query_images, condition=condition, without=without)
    if not takes_out:
        return query
    if query.negatives:
        raise QueryError("A query came with its own `without`, and another beside it: give one.")
    return dataclasses.replace(query, without=without)


def several(queries: Sequence[QueryLike]) -> tuple[Query, ...]:
    """Returns the queries of one pass.

    Raises:
      AudioSepError: there is none, or one string stands where several queries are needed.
    """
    if isinstance(queries, str | Query):
        raise QueryError("One query was given where several are needed: put it into a list.")
    if not len(queries):
        raise QueryError("No query was given: at least one is needed.")
    return as_queries(queries)


def average(
    conditions: Float32[np.ndarray, "parts size"], weights: Sequence[float] | None
) -> Float32[np.ndarray, " size"]:
    """Returns the weighted mean of conditions; of unit length if all of them are.

    Args:
      conditions: `[parts, size]`; a single one is returned as it is.
      weights: positive, one per condition; None weighs all alike.

    Raises:
      AudioSepError: they cancel each other out.
    """
    if len(conditions) == 1:
        return conditions[0]
    rows = conditions.astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1)
    mean = np.average(rows, axis=0, weights=weights)
    length = np.linalg.norm(mean)
    if not length > 1e-6 * lengths.max():
        raise QueryError("The parts of a query cancel each other out: their mean says nothing; give fewer.")
    unit = np.abs(lengths - 1).max() < _UNIT_TOLERANCE
    return np.asarray(mean / length if unit else mean, np.float32)
