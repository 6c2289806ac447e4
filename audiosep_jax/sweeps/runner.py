"""Runs a sweep: what is finished is skipped, what was cut off goes on, what fails is named at the end."""

import dataclasses
import functools
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from audiosep_jax.errors import StorageError
from audiosep_jax.evals.evaluation_set import check_files, load_evaluation_set
from audiosep_jax.sweeps.definition import Sweep
from audiosep_jax.sweeps.local import run_here
from audiosep_jax.sweeps.runs import Run, runs_of
from audiosep_jax.sweeps.workdir import CONFIG, LOG, only_sweep_in, write_plan
from audiosep_jax.sweeps.worker import PROGRAM, Done, Job, evaluation_hash, is_finished
from audiosep_jax.train.run_config import refuse_other_runs

Executor = Literal["local", "ray"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class How:
    """Where the runs of a sweep are performed.

    Attributes:
      executor: "local" for processes of this machine, "ray" for a Ray cluster.
      at_once: runs at a time; 0 is one here, and as many as the cluster has room for there.
      resources: what a run needs of a Ray cluster, such as {"CPU": 4, "GPU": 1}.
      program: what is called to train and to evaluate.
    """

    executor: Executor = "local"
    at_once: int = 0
    resources: dict[str, float] = dataclasses.field(default_factory=dict)
    program: tuple[str, ...] = PROGRAM


def run_sweep(sweep: Sweep, workdir: Path, *, how: How, say: Callable[[str], None] = print) -> list[Done]:
    """Performs all runs of a sweep and returns what became of each.

    Args:
      sweep: what to run.
      workdir: a folder of this machine, or one that all machines of the cluster share.
      how: where.
      say: gets a line whenever a run starts or ends.

    Raises:
      AudioSepError: the sweep, its evaluation set or the work directory cannot be used.
    """
    workdir = workdir.absolute()
    runs = runs_of(sweep, workdir)
    fingerprint = evaluation_hash(sweep.evaluation)
    check_files(load_evaluation_set(sweep.evaluation.evaluation_set), sweep.evaluation.root)
    if how.executor == "ray":
        from audiosep_jax.sweeps.ray_cluster import run_on_ray

        perform = functools.partial(run_on_ray, resources=how.resources)
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
                program=how.program,
                lock=lock if how.executor == "local" else None,
            )
            for run in runs
        ]
        at_once = how.at_once or (1 if how.executor == "local" else len(jobs))
        perform(jobs, at_once=at_once, started=started, ended=ended)
    return done


def _make_folder(run: Run) -> None:
    try:
        run.folder.mkdir(parents=True, exist_ok=True)
        was = json.loads((run.folder / CONFIG).read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return  # new, or cut off before there was a config
    except OSError as error:
        raise StorageError(f"{run.folder} cannot be made or read: {error.strerror}.") from error
    # The name leaves out fields at their default: a default that has changed since shows here.
    refuse_other_runs(run.folder, was=was, config=run.config)


def _line(one: Done) -> str:
    what = {"skipped": "was finished before", "failed": f"failed: {one.reason}"}.get(one.outcome, one.outcome)
    took = "" if one.outcome == "skipped" else f" after {one.seconds / 60:.1f} minutes"
    return f"{one.name}: {what}{took}"
