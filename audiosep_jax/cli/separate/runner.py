"""All recordings of a command line, several at once, each in one pass; a failure stops no other."""

import dataclasses
import logging
import math
import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Literal

from audiosep_jax.audio.reading import AudioReader
from audiosep_jax.cli.separate.naming import Job, Result
from audiosep_jax.cli.separate.queries import Asked
from audiosep_jax.cli.separate.records import Records, Seen
from audiosep_jax.errors import AudioSepError, SeparationError, printable
from audiosep_jax.separation.api import AudioSep
from audiosep_jax.separation.options import Options
from audiosep_jax.separation.presence import judged
from audiosep_jax.separation.queries import Query
from audiosep_jax.separation.results import FileSeparation
from audiosep_jax.utils.atomic import make_folder

_LOG = logging.getLogger(__name__)

Status = Literal["done", "skipped", "failed"]

# Ctrl-C is noticed this often while nothing finishes.
_WAIT_SECONDS = 0.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a result.

    Attributes:
      recording: the mixture.
      result: that was wanted.
      status: "skipped" where it was there already.
      report: what is known of the sound, in plain JSON values: of each query its level and presence.
      error: why it failed.
    """

    recording: Path
    result: Result
    status: Status
    report: dict[str, Any] = dataclasses.field(default_factory=dict)
    error: AudioSepError | None = None


class _StopError(Exception):
    """The user wants no more."""


class Runner:
    """Separates recordings.

    Args:
      model: the separator.
      asked: the queries of all jobs; they are encoded here, once.
      options: of every pass.
      stems: the queries of a recording share it.
      records: of what is done.
      again: what is done is made again.

    Raises:
      AudioSepError: a query that cannot be used.
    """

    def __init__(
        self,
        model: AudioSep,
        *,
        asked: Sequence[Asked],
        options: Options,
        stems: bool,
        records: Records,
        again: bool,
    ) -> None:
        self._model, self._options, self._stems = model, options, stems
        self._records, self._again = records, again
        self._queries = {id(each): _encoded(model, each.query) for each in asked}
        self._stop = threading.Event()

    def run(
        self, jobs: Sequence[Job], *, workers: int, progress: Callable[[Job, int, int], None]
    ) -> Generator[tuple[Job, list[Outcome]], None, None]:
        """Yields each job and its outcomes as it ends.

        Args:
          jobs: what is to be done.
          workers: recordings that are separated at once.
          progress: called with the samples done and the samples in all of a job, from any thread.
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
                # Whatever ends this, what is half written goes; the threads notice at their next block.
                self._stop.set()

    def _job(self, job: Job, progress: Callable[[Job, int, int], None]) -> list[Outcome]:
        def tell(done: int, total: int) -> None:
            self._check()
            progress(job, done, total)

        try:
            return self._outcomes(job, tell)
        except AudioSepError as error:
            return _failed(job, error)
        except _StopError:
            return []
        except Exception as error:
            # A defect, or memory that ran out: of this recording.
            if _LOG.isEnabledFor(logging.DEBUG):
                _LOG.exception("%s", printable(job.recording))
            reason = printable(f"{type(error).__name__}: {error}".removesuffix("."))
            where = printable(job.recording)
            return _failed(
                job,
                SeparationError(f"{where} cannot be separated ({reason}); --debug shows where it failed."),
            )

    def _check(self) -> None:
        if self._stop.is_set():
            raise _StopError

    def _outcomes(self, job: Job, tell: Callable[[int, int], None]) -> list[Outcome]:
        makers = {result: self._records.maker(result) for result in job.results}
        outcomes = {}
        for result, maker in makers.items():
            report = None
            if not self._again:
                report = self._records.report(result, job.recording, maker, tell=self._check)
            if report is not None:
                outcomes[result] = self._outcome(job, result, "skipped", report)
        missing = [result for result in job.results if result not in outcomes]
        if missing:
            with AudioReader(job.recording):  # says what is wrong with a file before it is read whole
                pass
            seen = Seen(job.recording, tell=self._check)
            for result in missing:
                make_folder(result.files[0].parent)
                self._records.forget(result)
            for result, separations in zip(
                missing, self._separate(job.recording, missing, tell), strict=True
            ):
                report = _report(result, separations)
                self._records.note(result, seen, makers[result], report, tell=self._check)
                outcomes[result] = self._outcome(job, result, "done", report)
        return [outcomes[result] for result in job.results]

    def _outcome(self, job: Job, result: Result, status: Status, report: dict[str, Any]) -> Outcome:
        """Adds what the levels mean, as the model is calibrated today."""
        queries = []
        for query in report["queries"]:
            level = query["presence_level_db"]
            found = judged(
                -math.inf if level is None else level,
                self._model.calibration,
                absent_below_db=self._options.get("absent_below_db"),
            )
            queries.append({**query, "presence": found.score, "absent": found.absent})
        return Outcome(
            recording=job.recording, result=result, status=status, report={**report, "queries": queries}
        )

    def _separate(
        self, recording: Path, results: Sequence[Result], tell: Callable[[int, int], None]
    ) -> list[tuple[FileSeparation, ...]]:
        if self._stems:
            (result,) = results
            return [
                self._model.separate_file_stems(
                    recording,
                    queries=[self._queries[id(each)] for each in result.asked],
                    stem_paths=result.files[:-1],
                    rest_path=result.files[-1],
                    progress=tell,
                    **self._options,
                )
            ]
        separations = self._model.separate_file_queries(
            recording,
            queries=[self._queries[id(result.asked[0])] for result in results],
            outputs=[(result.files[0], result.files[1]) for result in results],
            progress=tell,
            **self._options,
        )
        return [(each,) for each in separations]


def _failed(job: Job, error: AudioSepError) -> list[Outcome]:
    return [
        Outcome(recording=job.recording, result=result, status="failed", error=error)
        for result in job.results
    ]


def _encoded(model: AudioSep, query: Query) -> Query:
    """Returns a query whose examples are read and whose parts are averaged, once for all recordings."""
    without = tuple(Query(condition=model.condition(query=negative)) for negative in query.negatives)
    if not query.parts:
        return Query(without=without)
    alone = dataclasses.replace(query, without=())
    return Query(condition=model.condition(query=alone), without=without)


def _report(result: Result, separations: Sequence[FileSeparation]) -> dict[str, Any]:
    first = separations[0]
    return {
        "seconds": round(first.samples / first.sample_rate_hz, 6),
        "sample_rate_hz": first.sample_rate_hz,
        "channels": first.channels,
        "samples": first.samples,
        "subtype": first.subtype,
        "queries": [
            {
                "label": asked.label,
                "level_db": _finite(each.level_db),
                "presence_level_db": _finite(each.presence.level_db),
            }
            for asked, each in zip(result.asked, separations, strict=True)
        ],
    }


def _finite(level_db: float) -> float | None:
    """JSON has no infinity: silence has no level."""
    return round(level_db, 3) if math.isfinite(level_db) else None
