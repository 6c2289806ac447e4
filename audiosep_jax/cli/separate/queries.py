"""The queries of a command line: what is extracted, and what results are named after."""

import dataclasses
import hashlib
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from audiosep_jax.errors import QueryError, UsageError, printable
from audiosep_jax.separation.queries import Query


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Asked:
    """A query, as the command line gave it.

    Attributes:
      query: for the separator.
      label: what results are named after.
      files: that it is read from.
    """

    query: Query
    label: str
    files: tuple[Path, ...] = ()

    @property
    def description(self) -> dict[str, Any]:
        """The query in plain JSON values; files are named."""
        parts: dict[str, Any] = {"text": list(self.query.texts)}
        if self.query.weights is not None:
            parts["weights"] = list(self.query.weights)
        parts["examples"] = [str(path) for path in self.files]
        parts["without"] = [text for each in self.query.negatives for text in each.texts]
        parts["paraphrase"] = self.query.paraphrase or any(each.paraphrase for each in self.query.negatives)
        return {name: value for name, value in parts.items() if value}

    def fingerprint(self) -> dict[str, Any]:
        """Returns the description with the content of the files in the place of their names.

        Raises:
          AudioSepError: a file cannot be read.
        """
        try:
            contents = [hashlib.sha256(path.read_bytes()).hexdigest() for path in self.files]
        except OSError as error:
            raise QueryError(
                f"{printable(error.filename)} cannot be read ({error.strerror}): check the path."
            ) from error
        kind = "images" if self.query.images is not None else "audio"
        return {**self.description, "examples": {kind: contents}}

    def identity(self) -> str:
        """Returns a hash of what is asked for; how it is understood, as weights, does not count.

        Raises:
          AudioSepError: a file cannot be read.
        """
        parts = self.fingerprint()
        wanted = {name: parts.get(name) for name in ("text", "examples", "without")}
        return hashlib.sha256(repr(wanted).encode("utf-8", "surrogatepass")).hexdigest()


def asked_for(
    *,
    texts: Sequence[Sequence[str]],
    recordings: Sequence[Sequence[Path]],
    pictures: Sequence[Sequence[Path]],
    without: Sequence[str],
    average: bool = False,
    weights: Sequence[float] = (),
    paraphrase: bool = False,
) -> tuple[Asked, ...]:
    """Returns the queries of a command line, each once.

    Args:
      texts: sentences, in groups as they were given.
      recordings: examples of sounds, in groups; each is a query.
      pictures: in groups; each group is a query.
      without: sentences that describe what must be in no result.
      average: the sentences of a group say the same: they are one query.
      weights: of the averaged sentences, in the order of all; none weighs all alike.
      paraphrase: every sentence counts as the mean of several wordings, as in `Query`.

    Raises:
      AudioSepError: nothing is asked, a group is empty, or the weights do not fit.
    """
    for flag, groups in (("--query-audio", recordings), ("--query-image", pictures)):
        if any(not group for group in groups):
            raise UsageError(f"{flag} names no file: give at least one after it.")
    sentences = list(itertools.chain.from_iterable(texts))
    if weights and not average:
        raise UsageError("--weights counts only with --average: add it, or leave the weights out.")
    if weights and len(weights) != len(sentences):
        raise QueryError(
            f"{len(sentences)} sentence(s) and {len(weights)} weight(s) were given: each sentence needs one."
        )
    for text in (*sentences, *without):
        if not text.strip():
            raise QueryError(
                'A query is empty: describe the sound in words, for example --query "a dog barks".'
            )
    taken_out = tuple(Query(text=text, paraphrase=paraphrase) for text in without)
    found = []
    if average:
        left = iter(weights)
        for group in filter(None, texts):
            shares = tuple(itertools.islice(left, len(group))) if weights else None
            query = Query(text=tuple(group), weights=shares, without=taken_out, paraphrase=paraphrase)
            found.append(Asked(query=query, label=group[0]))
    else:
        for text in sentences:
            query = Query(text=text, without=taken_out, paraphrase=paraphrase)
            found.append(Asked(query=query, label=text))
    found += [
        Asked(query=Query(audio=path, without=taken_out), label=path.stem, files=(path,))
        for path in itertools.chain.from_iterable(recordings)
    ]
    for group in pictures:
        query = Query(images=tuple(group), without=taken_out)
        found.append(Asked(query=query, label=group[0].stem, files=tuple(group)))
    if not found and without:
        found.append(Asked(query=Query(without=taken_out), label="without " + " ".join(without)))
    if not found:
        raise QueryError(
            'No query was given: describe the sound, for example --query "a dog barks", say what to take out '
            'with --without "rain", or give an example of it with --query-audio or --query-image.'
        )
    once = {repr((each.description, each.query.audio is None)): each for each in reversed(found)}
    return tuple(reversed(once.values()))
