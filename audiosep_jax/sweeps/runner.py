"""Runs a sweep: skips finished runs, resumes interrupted ones, and lists failed ones at the end."""

import dataclasses
import functools
import json
import threading
from collections.abc import Callable, Sequence
from concurrent import futures
from pathlib import Path
from typing import Literal

from audiosep_jax.errors import StorageError
from audiosep_jax.evals.evaluation_set import check_files, load_evaluation_set
from audiosep_jax.sweeps.definition import Sweep
from audiosep_jax.sweeps.runs import Run, runs_of
from audiosep_jax.sweeps.workdir import CONFIG, LOG, only_sweep_in, write_plan
from audiosep_jax.sweeps.worker import PROGRAM, Done, Job, Stop, evaluation_hash, is_finished, work
from audiosep_jax.train.run_config import refuse_other_runs

Executor = Literal["local", "ray"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Execution:
    """The place of a sweep's runs, and the number of runs at a time.

    Attributes:
      executor: "local" for processes of this machine, "ray" for a Ray cluster.
      at_once: runs at a time; 0 is one on this machine, and as many as fit on a cluster.
      resources: of a run on a Ray cluster, such as {"CPU": 4, "GPU": 1}.
      program: command that trains and evaluates.
    """

    executor: Executor = "local"
    at_once: int = 0
    resources: dict[str, float] = dataclasses.field(default_factory=dict)
    program: tuple[str, ...] = PROGRAM


def run_sweep(
    sweep: Sweep, workdir: Path, *, execution: Execution, say: Callable[[str], None] = print
) -> list[Done]:
    """Performs all runs of a sweep and returns the outcome of each; `say` gets a line at each start and end.

    The machines of a cluster share the work directory.

    Raises:
      AudioSepError: the sweep, its evaluation set or the work directory cannot be used.
    """
    workdir = workdir.absolute()
    runs = runs_of(sweep, workdir)
    fingerprint = evaluation_hash(sweep.evaluation)
    check_files(load_evaluation_set(sweep.evaluation.evaluation_set), sweep.evaluation.root)
    if execution.executor == "ray":
        from audiosep_jax.sweeps.ray_cluster import run_on_ray

        perform = functools.partial(run_on_ray, resources=execution.resources)
    else:
        perform = run_here
    done: list[Done] = []
    speaking = threading.Lock()

    def started(job: Job) -> None:
        if not is_finished(job):
            with speaking:
                say(f"{job.run.name}: starts; its log is {job.run.folder / LOG}")

    def ended(one: Done) -> None:
        done.append(one)
        with speaking:
            say(f"[{len(done)}/{len(runs)}] {_line(one)}")

    with only_sweep_in(workdir) as lock:
        for run in runs:
            _make_folder(run)
        write_plan(sweep, runs, workdir, evaluation_hash=fingerprint)
        jobs = [
            Job(
                run=run,
                evaluation=sweep.evaluation,
                evaluation_hash=fingerprint,
                cwd=str(Path.cwd()),
                program=execution.program,
                lock=lock if execution.executor == "local" else None,
            )
            for run in runs
        ]
        at_once = execution.at_once or (1 if execution.executor == "local" else len(jobs))
        perform(jobs, at_once=at_once, started=started, ended=ended)
    return done


def _make_folder(run: Run) -> None:
    try:
        run.folder.mkdir(parents=True, exist_ok=True)
        was = json.loads((run.folder / CONFIG).read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return  # new, or interrupted before its config was written
    except OSError as error:
        raise StorageError(f"{run.folder} cannot be made or read: {error.strerror}.") from error
    # The folder's name leaves out fields at their default; this finds a default that has changed since.
    refuse_other_runs(run.folder, was=was, config=run.config)


def _line(one: Done) -> str:
    what = {"skipped": "was finished before", "failed": f"failed: {one.reason}"}.get(one.outcome, one.outcome)
    took = "" if one.outcome == "skipped" else f" after {one.seconds / 60:.1f} minutes"
    return f"{one.name}: {what}{took}"


def run_here(
    jobs: Sequence[Job], *, at_once: int, started: Callable[[Job], None], ended: Callable[[Done], None]
) -> None:
    """Performs jobs as processes of this machine; a failed job does not stop the others.

    At Ctrl-C or SIGTERM the trainings save and end before the exception is raised; at a second one they end
    at once. `started` is called before a job from a thread of its own, `ended` from the calling thread.
    """
    stop = Stop()

    def perform(job: Job) -> Done:
        if not stop.times:
            started(job)
        return work(job, stop)

    with futures.ThreadPoolExecutor(at_once, thread_name_prefix="run") as pool:
        running = [pool.submit(perform, job) for job in jobs]
        try:
            for future in futures.as_completed(running):
                ended(future.result())
        except BaseException:
            stop.ask()
            for future in running:
                future.cancel()
            _wait(running, stop)
            raise


def _wait(running: Sequence[futures.Future[Done]], stop: Stop) -> None:
    while True:
        try:
            futures.wait(running)
            return
        except (KeyboardInterrupt, SystemExit):
            stop.ask()
