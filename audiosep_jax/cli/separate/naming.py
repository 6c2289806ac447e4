"""The names of results: no two results share one, and no result replaces an input."""

import dataclasses
import functools
import itertools
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from audiosep_jax.cli.separate.discovery import Recording
from audiosep_jax.cli.separate.queries import NamedQuery
from audiosep_jax.errors import UsageError, printable


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """The files that are made for one query, or for all queries as stems.

    The files are the estimate and the residual, or the stems and the rest, and their names begin with `name`.
    """

    name: str
    queries: tuple[NamedQuery, ...]
    files: tuple[Path, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """A recording and its results, which one pass makes: one per query, or one for all stems."""

    recording: Path
    results: tuple[Result, ...]


def plan(
    recordings: Sequence[Recording],
    queries: Sequence[NamedQuery],
    *,
    out: Path,
    stems: bool,
    is_of_others: Callable[[Result, Path], bool] = lambda *_: False,
) -> list[Job]:
    """Names the results of every recording and query, of which each is given once.

    A result that would replace one of other queries, as `is_of_others` says, gets another name.

    Raises:
      UsageError: there is no recording, or a result would overwrite a recording or an example of a query.
      QueryError: an example of a query cannot be read.
    """
    if not recordings:
        raise UsageError("No recording was given: name at least one sound file before --query.")
    taken: set[str] = set()
    jobs = []
    for recording in recordings:
        folder, stem = out / recording.folder, _shortened(recording.path.stem, 120)
        wanted = [_stems(folder, stem, queries)] if stems else [_pair(folder, stem, each) for each in queries]
        refused = functools.partial(_refused, taken, is_of_others, recording.path)
        results = [next(itertools.filterfalse(refused, map(each, itertools.count(1)))) for each in wanted]
        jobs.append(Job(recording=recording.path, results=tuple(results)))
    _refuse_overwriting(jobs, recordings, queries)
    return jobs


def _pair(folder: Path, stem: str, query: NamedQuery) -> Callable[[int], Result]:
    def numbered(number: int) -> Result:
        name = _numbered(f"{stem}.{slug(query.label)}", number)
        files = tuple(folder / f"{name}.{kind}.wav" for kind in ("estimate", "residual"))
        return Result(name=name, queries=(query,), files=files)

    return numbered


def _stems(folder: Path, stem: str, queries: Sequence[NamedQuery]) -> Callable[[int], Result]:
    taken, labels = {"rest"}, []
    for query in queries:
        base = slug(query.label)
        numbered_labels = (_numbered(base, number) for number in itertools.count(1))
        label = next(each for each in numbered_labels if each.lower() not in taken)
        taken.add(label.lower())
        labels.append(label)

    def numbered(number: int) -> Result:
        name = _numbered(stem, number)
        files = [folder / f"{name}.{label}.stem.wav" for label in labels]
        return Result(name=name, queries=tuple(queries), files=(*files, folder / f"{name}.rest.wav"))

    return numbered


def _refused(
    taken: set[str], is_of_others: Callable[[Result, Path], bool], recording: Path, result: Result
) -> bool:
    """Whether the name of a result is taken; if not, it is from now on."""
    # Some file systems do not distinguish upper and lower case.
    key = str(result.files[0].parent / result.name).lower()
    if key in taken or is_of_others(result, recording):
        return True
    taken.add(key)
    return False


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name}-{number}"


def _refuse_overwriting(
    jobs: Sequence[Job], recordings: Sequence[Recording], queries: Sequence[NamedQuery]
) -> None:
    # Path.resolve raises if links form a circle; os.path.realpath does not.
    inputs = {os.path.realpath(file): "the example of a query" for query in queries for file in query.files}
    inputs |= {os.path.realpath(recording.path): "a recording" for recording in recordings}
    for file in [file for job in jobs for result in job.results for file in result.files]:
        if (overwritten := inputs.get(os.path.realpath(file))) is not None:
            raise UsageError(
                f"The result {printable(file)} would overwrite {overwritten}: choose another --out."
            )


def slug(query: str) -> str:
    """Returns a query as a part of a file name: letters and digits of any script, joined by hyphens.

    Examples:
      >>> slug("A dog barks, loudly")
      'a-dog-barks-loudly'
    """
    words = re.sub(r"[\W_]+", "-", query.lower()).strip("-")
    return _shortened(words, 80).strip("-") or "query"


def _shortened(text: str, size: int) -> str:
    # File names end at 255 bytes on most systems.
    encoded = os.fsencode(text)
    return text if len(encoded) <= size else encoded[:size].decode("utf-8", "ignore")
