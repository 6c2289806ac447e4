"""Queries: sentences, examples and vectors that describe a sound, and sounds that must not be in it."""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np
from jaxtyping import Float

from audiosep_jax.errors import QueryError, listed, shown
from audiosep_jax.separation.example_queries import AudioExample, ImageExample

# Wordings of a sentence, which stands in place of the dots.
PARAPHRASES = ("…", "the sound of …", "a recording of …", "… can be heard")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Query:
    """One sound to extract, or to remove.

    All parts that describe the sound are averaged into one condition, of unit length if the parts' conditions
    are. A query that has only `without` means everything else: the recording minus the sounds of `without`.

    Attributes:
      text: a sentence, or several that say the same in other words.
      audio: an example of the sound: a file, or a pair of waveform and rate in Hz ("clap" only).
      images: pictures of its source, which count as one part ("clip" only).
      condition: `[condition_size]`, a vector of the model's query space.
      weights: of the parts in the mean: one per sentence, then of the example, the pictures and the vector;
        positive, only their ratios count. None weighs all alike.
      paraphrase: every sentence counts as the mean of itself and three other wordings (`PARAPHRASES`).
      without: sounds that must not be in the result (negatives), each a sentence or a `Query`. At every time
        and frequency the result keeps |p|² / (|p|² + Σ|n|²) of p, where p is the estimate of the query and n
        that of a negative.

    Raises:
      QueryError: there is nothing to extract or remove, the weights do not fit, or a negative has its own
        `without`.

    Examples:
      >>> query = Query(text=("a dog", "a dog barks"), without="rain")
      >>> query.parts, query.negatives[0].name
      (2, 'rain')
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
                "A query describes nothing: give a sentence, an example, a vector, or what to remove with "
                "`without`."
            )
        if self.weights is not None:
            if len(self.weights) != self.parts:
                raise QueryError(
                    f"A query has {self.parts} part(s) and {len(self.weights)} weight(s): give one for each."
                )
            if not all(math.isfinite(weight) and weight > 0 for weight in self.weights):
                raise QueryError(
                    f"The weights {listed(self.weights)} are not all positive: give positive numbers, and "
                    "sounds to remove as `without`."
                )
        for negative in self.negatives:
            if negative.negatives or not negative.parts:
                raise QueryError(
                    "A query inside `without` cannot have its own `without`: give its description alone."
                )

    @property
    def texts(self) -> tuple[str, ...]:
        """The sentences."""
        return (self.text,) if isinstance(self.text, str) else tuple(self.text)

    @property
    def wordings(self) -> tuple[tuple[str, ...], ...]:
        """The wordings of each sentence, whose mean counts."""
        patterns = PARAPHRASES if self.paraphrase else PARAPHRASES[:1]
        return tuple(tuple(pattern.replace("…", text) for pattern in patterns) for text in self.texts)

    @property
    def parts(self) -> int:
        """How many conditions are averaged; 0 if there is only `without`."""
        return len(self.texts) + sum(part is not None for part in (self.audio, self.images, self.condition))

    @property
    def negatives(self) -> "tuple[Query, ...]":
        """The sounds that must not be in the result."""
        several = isinstance(self.without, Sequence) and not isinstance(self.without, str)
        return as_queries(self.without if several else [self.without])  # pyright: ignore[reportArgumentType]

    @property
    def name(self) -> str:
        """The query in messages: the first sentence, or the kind of what is given instead."""
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
      QueryError: one is neither.
    """
    for query in queries:
        if not isinstance(query, str | Query):
            raise QueryError(
                f"A query of type {type(query).__name__} was given: a sentence or an audiosep_jax.Query is "
                "needed."
            )
    return tuple(Query(text=query) if isinstance(query, str) else query for query in queries)


def query_from(
    query: QueryLike | None = None,
    query_audio: AudioExample | None = None,
    query_images: ImageExample | Sequence[ImageExample] | None = None,
    condition: Float[np.ndarray, " size"] | None = None,
    without: QueryLike | Sequence[QueryLike] = (),
) -> Query:
    """Returns the query that the arguments of `AudioSep.separate` describe.

    Raises:
      QueryError: more than one of the first four was given, or neither one of them nor `without`.
    """
    given = {
        "query": query,
        "query_audio": query_audio,
        "query_images": query_images,
        "condition": condition,
    }
    names = [name for name, value in given.items() if value is not None]
    has_negatives = isinstance(without, str | Query) or len(without) > 0
    if len(names) > 1 or not (names or has_negatives):
        raise QueryError(
            "Give exactly one of query (a sentence), query_audio, query_images and condition (a vector): "
            f"{' and '.join(names) or 'none'} came."
        )
    if not isinstance(query, Query):
        text = () if query is None else as_queries([query])[0].text
        return Query(text=text, audio=query_audio, images=query_images, condition=condition, without=without)
    if not has_negatives:
        return query
    if query.negatives:
        raise QueryError("Two `without` were given, one in the query and one beside it: give one.")
    return dataclasses.replace(query, without=without)


def query_list(queries: Sequence[QueryLike]) -> tuple[Query, ...]:
    """Returns the queries of one pass.

    Raises:
      QueryError: there is none, or one query was given instead of a list.
    """
    if isinstance(queries, str | Query):
        raise QueryError("One query was given where several are needed: put it into a list.")
    if not len(queries):
        raise QueryError("No query was given: at least one is needed.")
    return as_queries(queries)
