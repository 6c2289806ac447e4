"""Separates the recordings of a command line, several at once; one that fails does not stop the others."""

import dataclasses
import logging
import math
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Literal

from audiosep_jax.audio.reading import AudioReader
from audiosep_jax.cli.separate.naming import Job, Result
from audiosep_jax.cli.separate.queries import NamedQuery
from audiosep_jax.cli.separate.records import FileState, Records, model_fingerprint
from audiosep_jax.errors import AudioSepError, SeparationError, printable
from audiosep_jax.separation.api import AudioSep
from audiosep_jax.separation.files import Outputs, Written, separate_file
from audiosep_jax.separation.options import Options
from audiosep_jax.separation.presence import Presence, judged
from audiosep_jax.separation.queries import Query
from audiosep_jax.utils.atomic import make_folder

_LOG = logging.getLogger(__name__)

Status = Literal["done", "skipped", "failed"]

# While no recording finishes, Ctrl-C is noticed after this time.
_WAIT_SECONDS = 0.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """The end of one result; it was "skipped" if it was there already.

    The report is of the recording and the levels of each query, in plain JSON values, as in the record. The
    presences of the queries are judged by the model's calibration of today, and empty if the result failed.
    """

    recording: Path
    result: Result
    status: Status
    report: dict[str, Any] = dataclasses.field(default_factory=dict)
    presences: tuple[Presence, ...] = ()
    error: AudioSepError | None = None


class _StopError(Exception):
    """The command ends."""


class Runner:
    """Separates recordings by queries, which it encodes once.

    With `stems` the queries share each recording; with `again` results are made even if they are there.

    Raises:
      AudioSepError: a query that cannot be used, or a query encoder that cannot be loaded.
    """

    def __init__(
        self, model: AudioSep, *, queries: Sequence[NamedQuery], options: Options, stems: bool, again: bool
    ) -> None:
        self._model, self._options, self._stems, self._again = model, options, stems, again
        self._stop = threading.Event()
        self._records = Records(
            model=model_fingerprint(model),
            options={**dataclasses.asdict(options), "stems": stems},
            check=self._check,
        )
        self._encoded = {id(each): _encoded(model, each.query) for each in queries}

    def run(
        self, jobs: Sequence[Job], *, workers: int, progress: Callable[[Job, int, int], None]
    ) -> Generator[tuple[Job, list[Outcome]], None, None]:
        """Yields each job and its outcomes when it ends; as many as `workers` are separated at once.

        `progress` is called from any thread, with a job, its samples done and its samples in all.
        """
        waiting = deque(jobs)
        running: dict[Future[list[Outcome]], Job] = {}
        with ThreadPoolExecutor(workers) as threads:
            try:
                while waiting or running:
                    while waiting and len(running) < workers:
                        job = waiting.popleft()
                        running[threads.submit(self._job, job, progress)] = job
                    ended, _ = wait(running, _WAIT_SECONDS, FIRST_COMPLETED)
                    for each in ended:
                        yield running.pop(each), each.result()
            finally:
                # The threads stop at their next block and remove files that are not complete.
                self._stop.set()

    def _job(self, job: Job, progress: Callable[[Job, int, int], None]) -> list[Outcome]:
        def tell(done: int, total: int) -> None:
            self._check()
            progress(job, done, total)

        try:
            return self._outcomes(job, tell)
        except _StopError:
            return []
        except AudioSepError as error:
            failure = error
        except Exception as error:
            # A defect, or not enough memory, for this recording.
            where = printable(job.recording)
            if _LOG.isEnabledFor(logging.DEBUG):
                _LOG.exception("%s", where)
            reason = printable(f"{type(error).__name__}: {error}".removesuffix("."))
            failure = SeparationError(
                f"{where} cannot be separated ({reason}); --debug shows where it failed."
            )
        return [
            Outcome(recording=job.recording, result=result, status="failed", error=failure)
            for result in job.results
        ]

    def _check(self) -> None:
        if self._stop.is_set():
            raise _StopError

    def _outcomes(self, job: Job, tell: Callable[[int, int], None]) -> list[Outcome]:
        recording = FileState(job.recording, check=self._check)
        makers = {result: self._records.maker(result) for result in job.results}
        outcomes = {}
        for result, maker in makers.items():
            report = None if self._again else self._records.report(result, recording, maker)
            if report is not None:
                outcomes[result] = self._outcome(job, result, "skipped", report)
        missing = [result for result in job.results if result not in outcomes]
        for result, report in self._made(job.recording, missing, tell):
            self._records.note(result, recording, makers[result], report)
            outcomes[result] = self._outcome(job, result, "done", report)
        return [outcomes[result] for result in job.results]

    def _outcome(self, job: Job, result: Result, status: Status, report: dict[str, Any]) -> Outcome:
        levels = [query["presence_level_db"] for query in report["queries"]]
        presences = [
            judged(
                -math.inf if level is None else level,
                self._model.calibration,
                absent_below_db=self._options.absent_below_db,
            )
            for level in levels
        ]
        return Outcome(
            recording=job.recording, result=result, status=status, report=report, presences=tuple(presences)
        )

    def _made(
        self, recording: Path, results: Sequence[Result], tell: Callable[[int, int], None]
    ) -> list[tuple[Result, dict[str, Any]]]:
        """Separates a recording in one pass; returns its results and their reports."""
        if not results:
            return []
        queries = [self._encoded[id(each)] for result in results for each in result.queries]
        with AudioReader(recording) as reader:  # a file that cannot be opened keeps its records
            for result in results:
                make_folder(result.files[0].parent)
                self._records.forget(result)
            if self._stems:
                outputs = [Outputs.of_stems(result.files[:-1], result.files[-1]) for result in results]
            else:
                pairs = zip(queries, results, strict=True)
                outputs = [Outputs.of_query(query, *result.files) for query, result in pairs]
            stream_for = self._model.stream_for(queries, self._options, stems=self._stems)
            written = separate_file(reader, stream_for=stream_for, outputs=outputs, progress=tell)
        levels = zip(written.levels_db, written.presence_levels_db, strict=True)
        return [(result, _report(result, written, levels)) for result in results]


def _encoded(model: AudioSep, query: Query) -> Query:
    """Returns a query with conditions instead of sentences and examples: they are encoded only once."""
    without = tuple(Query(condition=model.condition(query=negative)) for negative in query.negatives)
    if not query.parts:
        return Query(without=without)
    alone = dataclasses.replace(query, without=())
    return Query(condition=model.condition(query=alone), without=without)


def _report(result: Result, written: Written, levels: Iterator[tuple[float, float]]) -> dict[str, Any]:
    """Returns the report of a result, which takes the next levels of the pass."""
    return {
        "seconds": round(written.samples / written.sample_rate_hz, 6),
        "sample_rate_hz": written.sample_rate_hz,
        "channels": written.channels,
        "samples": written.samples,
        "subtype": written.subtypes[result.files[0]],
        "peak": round(written.peak, 4),
        "queries": [
            {
                "label": query.label,
                "level_db": _finite(level_db),
                "presence_level_db": _finite(presence_level_db),
            }
            for query, (level_db, presence_level_db) in zip(result.queries, levels, strict=False)
        ],
    }


def _finite(level_db: float) -> float | None:
    """Returns a rounded level; None for silence, because JSON has no infinity."""
    return round(level_db, 3) if math.isfinite(level_db) else None
