"""Separates recordings, folders and patterns into a folder; prints a line per result and a summary."""

import contextlib
import json
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from rich.console import Console
from rich.progress import TaskID

import audiosep_jax
from audiosep_jax.cli.separate import discovery, naming
from audiosep_jax.cli.separate.arguments import SeparateArgs
from audiosep_jax.cli.separate.naming import Job
from audiosep_jax.cli.separate.queries import NamedQuery
from audiosep_jax.cli.separate.records import is_of_others
from audiosep_jax.cli.separate.runner import Outcome, Runner
from audiosep_jax.errors import printable
from audiosep_jax.separation.options import Options
from audiosep_jax.separation.presence import absence_warning
from audiosep_jax.separation.scale import scale_warning
from audiosep_jax.utils.atomic import make_folder
from audiosep_jax.utils.progress import progress_bar

_OUT = Path("separated")

# At most so many failed recordings are named again at the end.
_NAMED = 5


def separate_files(args: SeparateArgs, queries: Sequence[NamedQuery], *, options: Options) -> int:
    """Separates all recordings; returns 2 if any failed, else 0.

    Raises:
      AudioSepError: no recording, a query that cannot be used, or a folder that cannot be written. Nothing is
        separated then.
    """
    out = _OUT if args.out is None else args.out
    recordings = discovery.find(args.inputs, out=out)
    jobs = naming.plan(recordings, queries, out=out, stems=args.stems, is_of_others=is_of_others)
    model = audiosep_jax.load(args.checkpoint)
    runner = Runner(model, queries=queries, options=options, stems=args.stems, again=args.again)
    make_folder(out)
    counts: Counter[str] = Counter()
    failed: list[Outcome] = []
    with (
        _Bar(len(jobs), lines=not args.json) as bar,
        contextlib.closing(runner.run(jobs, workers=args.jobs or 1, progress=bar.tell)) as ended,
    ):
        for job, outcomes in ended:
            for outcome in outcomes:
                counts[outcome.status] += 1
                if outcome.status == "failed":
                    failed.append(outcome)
                for line in [_json(outcome)] if args.json else _lines(outcome):
                    print(line, flush=args.json)
            for line in dict.fromkeys(line for outcome in outcomes for line in _complaints(outcome)):
                print(line, file=sys.stderr)
            bar.end(job)
    if args.json:
        print(json.dumps({"summary": {name: counts[name] for name in ("done", "skipped", "failed")}}))
    _summarise(counts, failed, len(jobs))
    return 2 if failed else 0


def _lines(outcome: Outcome) -> Iterator[str]:
    if outcome.status == "failed":
        return
    report, files = outcome.report, outcome.result.files
    sound = (
        f"{report['seconds']:.1f} s, {report['sample_rate_hz']} Hz, {report['channels']} ch, "
        f"{report['subtype']}"
    )
    done = ", done already" if outcome.status == "skipped" else ""
    for file, query in zip(files, report["queries"], strict=False):
        level = "silent" if query["level_db"] is None else f"{query['level_db']:+.1f} dB of the mixture"
        yield f"{printable(file)}  ({sound}, {level}{done})"
    yield f"{printable(files[-1])}  ({sound}{done})"


def _complaints(outcome: Outcome) -> Iterator[str]:
    """Yields the lines for the standard error."""
    if outcome.error is not None:
        yield f"audiosep: error: {printable(str(outcome.error))}"
    for warning in _warnings(outcome):
        yield f"audiosep: warning: {printable(outcome.recording)}: {warning}"


def _warnings(outcome: Outcome) -> list[str]:
    warnings = [
        absence_warning(presence, query.label)
        for presence, query in zip(outcome.presences, outcome.result.queries, strict=False)
    ]
    warnings.append(scale_warning(outcome.report.get("peak", 0.0)))
    return [warning for warning in warnings if warning is not None]


def _json(outcome: Outcome) -> str:
    values: dict[str, Any] = {
        "status": outcome.status,
        "recording": str(outcome.recording),
        "queries": [query.description for query in outcome.result.queries],
    }
    if outcome.error is not None:
        values["error"] = str(outcome.error)
    else:
        report = dict(outcome.report)
        levels = report.pop("queries")
        for query, level, presence in zip(values["queries"], levels, outcome.presences, strict=True):
            query |= {**level, "presence": presence.score, "absent": presence.absent}
        values["files"] = [str(file) for file in outcome.result.files]
        values |= report
        values["warnings"] = _warnings(outcome)
    # ASCII can also carry file names that are not text.
    return json.dumps(values)


def _summarise(counts: Counter[str], failed: Sequence[Outcome], jobs: int) -> None:
    if counts["skipped"]:
        print(
            f"audiosep: {counts['skipped']} result(s) were done already; --again makes them again.",
            file=sys.stderr,
        )
    if failed:
        names = list(dict.fromkeys(printable(outcome.recording) for outcome in failed))
        print(f"audiosep: {len(names)} of {jobs} recordings failed:", file=sys.stderr)
        for name in names[:_NAMED]:
            print(f"  {name}", file=sys.stderr)
        if len(names) > _NAMED:
            print(f"  and {len(names) - _NAMED} more", file=sys.stderr)


class _Bar:
    """The progress bar, on the standard error if that is a terminal.

    `lines` is whether the command prints text, which goes above the bar if both are on a terminal.
    """

    def __init__(self, jobs: int, *, lines: bool) -> None:
        console = Console(stderr=True)
        self._bar = progress_bar(
            console,
            percent=True,
            transient=True,
            # Otherwise rich would print to the terminal what belongs into a file.
            redirect_stdout=lines and sys.stdout.isatty(),
            disable=not console.is_terminal,
        )
        self._whole = self._bar.add_task(f"{jobs} recordings", total=jobs, visible=jobs > 1)
        self._tasks: dict[Path, TaskID] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def tell(self, job: Job, done: int, total: int) -> None:
        """Shows the progress of a recording."""
        with self._lock:
            if job.recording not in self._tasks:
                name = printable(job.recording.name)
                self._tasks[job.recording] = self._bar.add_task(name, total=total)
            self._bar.update(self._tasks[job.recording], completed=done)

    def end(self, job: Job) -> None:
        """Counts a finished recording."""
        with self._lock:
            if (task := self._tasks.pop(job.recording, None)) is not None:
                self._bar.remove_task(task)
            self._bar.advance(self._whole)
