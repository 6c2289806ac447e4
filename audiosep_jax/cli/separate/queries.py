"""The queries of a command line, with the labels that name their results."""

import dataclasses
import functools
import hashlib
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from audiosep_jax.errors import QueryError, UsageError, printable
from audiosep_jax.separation.queries import Query


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class NamedQuery:
    """A query of the command line, with the label that names its results and the files of its examples."""

    query: Query
    label: str
    files: tuple[Path, ...] = ()

    @property
    def description(self) -> dict[str, Any]:
        """The query in plain JSON values, with the names of files."""
        parts: dict[str, Any] = {"text": list(self.query.texts)}
        if self.query.weights is not None:
            parts["weights"] = list(self.query.weights)
        parts["examples"] = [str(path) for path in self.files]
        parts["without"] = [text for each in self.query.negatives for text in each.texts]
        parts["paraphrase"] = self.query.paraphrase or any(each.paraphrase for each in self.query.negatives)
        return {name: value for name, value in parts.items() if value}

    @functools.cached_property
    def fingerprint(self) -> dict[str, Any]:
        """The description with hashes of the files' contents instead of their names.

        Raises:
          QueryError: a file cannot be read.
        """
        try:
            contents = [hashlib.sha256(path.read_bytes()).hexdigest() for path in self.files]
        except OSError as error:
            raise QueryError(
                f"{printable(error.filename)} cannot be read ({error.strerror}): check the path."
            ) from error
        kind = "images" if self.query.images is not None else "audio"
        return {**self.description, "examples": {kind: contents}}

    @property
    def identity(self) -> str:
        """A hash of the sounds that the query names, without how they are combined, such as weights.

        Raises:
          QueryError: a file cannot be read.
        """
        parts = self.fingerprint
        wanted = {name: parts.get(name) for name in ("text", "examples", "without")}
        return hashlib.sha256(repr(wanted).encode("utf-8", "surrogatepass")).hexdigest()


def named_queries(
    *,
    texts: Sequence[Sequence[str]],
    recordings: Sequence[Sequence[Path]],
    pictures: Sequence[Sequence[Path]],
    without: Sequence[str],
    average: bool = False,
    weights: Sequence[float] = (),
    paraphrase: bool = False,
) -> tuple[NamedQuery, ...]:
    """Returns the queries of a command line, each once.

    Args:
      texts: sentences, one group per --query.
      recordings: examples of sounds, one group per --query-audio; each file is a query.
      pictures: one group per --query-image; each group is a query.
      without: sentences that describe sounds that must be in no result.
      average: the sentences of a group say the same in other words and are one query.
      weights: of the averaged sentences of all groups, in their order; empty weighs all alike.
      paraphrase: every sentence counts as the mean of several wordings, as in `Query`.

    Raises:
      UsageError: a group is empty, or there are weights without `average`.
      QueryError: there is no query, one is empty, or the weights do not fit.
    """
    for flag, groups in (("--query-audio", recordings), ("--query-image", pictures)):
        if any(not group for group in groups):
            raise UsageError(f"{flag} names no file: give at least one after it.")
    sentences = list(itertools.chain.from_iterable(texts))
    if weights and not average:
        raise UsageError("--weights counts only with --average: add --average, or remove --weights.")
    if weights and len(weights) != len(sentences):
        raise QueryError(
            f"{len(sentences)} sentence(s) and {len(weights)} weight(s) were given: each sentence needs one."
        )
    for text in (*sentences, *without):
        if not text.strip():
            raise QueryError(
                'A query is empty: describe the sound in words, for example --query "a dog barks".'
            )
    negatives = tuple(Query(text=text, paraphrase=paraphrase) for text in without)
    found, remaining = [], iter(weights)
    for group in filter(None, texts) if average else zip(sentences, strict=True):
        own = tuple(itertools.islice(remaining, len(group))) if weights else None
        query = Query(text=tuple(group), weights=own, without=negatives, paraphrase=paraphrase)
        found.append(NamedQuery(query=query, label=group[0]))
    found += [
        NamedQuery(query=Query(audio=path, without=negatives), label=path.stem, files=(path,))
        for path in itertools.chain.from_iterable(recordings)
    ]
    for group in pictures:
        query = Query(images=tuple(group), without=negatives)
        found.append(NamedQuery(query=query, label=group[0].stem, files=tuple(group)))
    if not found and without:
        found.append(NamedQuery(query=Query(without=negatives), label="without " + " ".join(without)))
    if not found:
        raise QueryError(
            'No query was given: describe the sound, for example --query "a dog barks", describe what to '
            'remove with --without "rain", or give an example with --query-audio or --query-image.'
        )
    once = {repr((each.description, each.query.audio is None)): each for each in reversed(found)}
    return tuple(reversed(once.values()))
