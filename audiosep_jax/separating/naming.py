"""The names of results, so that no two share one and none replaces what was read."""

import dataclasses
import os
import re
from collections.abc import Sequence
from pathlib import Path

from audiosep_jax.errors import AudioSepError, printable
from audiosep_jax.separating.asking import Asked
from audiosep_jax.separating.recordings import Recording


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """What one query, or all that share a recording, leave behind.

    Attributes:
      name: of the result, without what tells its files apart.
      asked: the query; several are stems that sum to the recording.
      files: the estimate and the residual; or the stems and the rest.
    """

    name: str
    asked: tuple[Asked, ...]
    files: tuple[Path, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """One recording and what is made of it in one pass.

    Attributes:
      recording: the mixture.
      results: one per query, or one for all stems.
    """

    recording: Path
    results: tuple[Result, ...]


def plan(recordings: Sequence[Recording], asked: Sequence[Asked], *, out: Path, stems: bool) -> list[Job]:
    """Names the results of every recording and query.

    Args:
      recordings: each once.
      asked: each once.
      out: folder of the results.
      stems: the queries of a recording share it.

    Raises:
      AudioSepError: there is no recording, or a result would overwrite a recording or the file of a query.
    """
    if not recordings:
        raise AudioSepError("No recording was given: name at least one sound file before --query.")
    taken: set[str] = set()
    jobs = []
    for recording in recordings:
        folder, stem = out / recording.folder, _shortened(recording.path.stem, 120)
        if stems:
            name = _free(taken, folder, stem)
            labels: set[str] = {"rest"}
            files = [folder / f"{name}.{_free(labels, Path(), slug(each.label))}.stem.wav" for each in asked]
            rest = folder / f"{name}.rest.wav"
            results = [Result(name=name, asked=tuple(asked), files=(*files, rest))]
        else:
            results = []
            for each in asked:
                name = _free(taken, folder, f"{stem}.{slug(each.label)}")
                files = tuple(folder / f"{name}.{kind}.wav" for kind in ("estimate", "residual"))
                results.append(Result(name=name, asked=(each,), files=files))
        jobs.append(Job(recording=recording.path, results=tuple(results)))
    _refuse_overwriting(jobs, recordings, asked)
    return jobs


def _free(taken: set[str], folder: Path, wanted: str) -> str:
    name, number = wanted, 1
    while (key := str(folder / name).lower()) in taken:  # file systems may not tell upper from lower case
        number += 1
        name = f"{wanted}-{number}"
    taken.add(key)
    return name


def _refuse_overwriting(jobs: Sequence[Job], recordings: Sequence[Recording], asked: Sequence[Asked]) -> None:
    inputs = {_resolved(file): "the example of a query" for each in asked for file in each.files}
    inputs |= {_resolved(recording.path): "a recording" for recording in recordings}
    for job in jobs:
        for result in job.results:
            for file in result.files:
                if (overwritten := inputs.get(_resolved(file))) is not None:
                    raise AudioSepError(
                        f"The result {printable(file)} would overwrite {overwritten}: choose another --out."
                    )


def _resolved(path: Path) -> str:
    # Path.resolve raises where links go in circles; this does not.
    return os.path.realpath(path)


def slug(query: str) -> str:
    """Returns a query as a part of a file name: letters and digits of any script, joined by hyphens."""
    words = re.sub(r"[\W_]+", "-", query.lower()).strip("-")
    return _shortened(words, 80).strip("-") or "query"


def _shortened(text: str, size: int) -> str:
    # File names end at 255 bytes on most systems.
    encoded = os.fsencode(text)
    return text if len(encoded) <= size else encoded[:size].decode("utf-8", "ignore")
