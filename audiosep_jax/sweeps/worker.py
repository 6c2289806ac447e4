"""Performs one run: `audiosep train`, then `audiosep evaluate`, each as a process with a log."""

import dataclasses
import hashlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from audiosep_jax.errors import AudioSepError, EvaluationError, shown
from audiosep_jax.sweeps import workdir
from audiosep_jax.sweeps.definition import Evaluation
from audiosep_jax.sweeps.runs import Run
from audiosep_jax.sweeps.workdir import RunState
from audiosep_jax.utils.atomic import replacing, write_json
from audiosep_jax.utils.serialization import to_dict

PROGRAM = (sys.executable, "-m", "audiosep_jax.cli.main")
"""The command that is called with "train" or "evaluate" and their arguments."""

Outcome = Literal["finished", "skipped", "failed", "stopped"]

_POLL_SECONDS = 0.2
# A training saves at the first SIGTERM and ends at once at the second.
_SIGNALS = (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL)
# An evaluation has nothing to save and ends by an exception. Python drops an exception that is raised in a
# callback of its garbage collector, so the signal is repeated.
_AGAIN_SECONDS = 3.0

_EXPERIMENT = '''"""{name}: one run of a sweep, written by `audiosep sweep`."""

from pathlib import Path

from audiosep_jax.config import ExperimentConfig
from audiosep_jax.utils.serialization import load_json

CONFIG = load_json(ExperimentConfig, Path(__file__).with_name("{config}"))
'''


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """A run with everything that another machine needs to perform it.

    Attributes:
      cwd: folder of relative paths.
      program: command to call, see `PROGRAM`.
      lock: descriptor that the processes inherit; None for none.
    """

    run: Run
    evaluation: Evaluation
    evaluation_hash: str
    cwd: str
    program: tuple[str, ...] = PROGRAM
    lock: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Done:
    """The outcome of a job, and the time of this attempt.

    Attributes:
      reason: last line of the log of a failed run; "" for others.
      log: file of its output.
    """

    name: str
    outcome: Outcome
    log: Path
    reason: str = ""
    seconds: float = 0.0


class Stop:
    """Counts the requests to stop the sweep, for the worker threads."""

    def __init__(self) -> None:
        self.times = 0

    def ask(self) -> None:
        """Asks the processes to stop: to save first, and at the second call to end at once."""
        self.times += 1


def evaluation_hash(evaluation: Evaluation) -> str:
    """Returns a hash of the evaluation set's file.

    Raises:
      EvaluationError: it cannot be read.
    """
    try:
        return hashlib.sha256(Path(evaluation.evaluation_set).read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise EvaluationError(
            f"evaluation set {evaluation.evaluation_set} cannot be read: {error.strerror}; give another one "
            "as --evaluation-set."
        ) from error


def is_finished(job: Job) -> bool:
    """Whether the run has been trained, and measured on the job's evaluation set."""
    state = RunState.read(job.run.folder)
    return state.trained and state.evaluated == job.evaluation_hash


def work(job: Job, stop: Stop | None = None) -> Done:
    """Trains and evaluates the run of a job, and resumes an earlier attempt.

    The output of the processes goes to the run's log. When this function ends, the processes end, too.
    """
    log = job.run.folder / workdir.LOG
    started = time.perf_counter()

    def done(outcome: Outcome, reason: str = "") -> Done:
        seconds = time.perf_counter() - started
        return Done(name=job.run.name, outcome=outcome, log=log, reason=reason, seconds=seconds)

    if is_finished(job):
        return done("skipped")
    try:
        outcome, reason = _perform(job, stop or Stop())
    except (OSError, AudioSepError) as error:  # such as a full disk: a failure of this run alone
        outcome, reason = "failed", shown(error)
    return done(outcome, reason)


def _perform(job: Job, stop: Stop) -> tuple[Outcome, str]:
    folder, state = job.run.folder, RunState.read(job.run.folder)
    _write_experiment(job.run)
    for stage, arguments in _stages(job, state).items():
        begin = time.perf_counter()
        again_seconds = None if stage == "train" else _AGAIN_SECONDS
        status, reason = _call(job, arguments, folder / workdir.LOG, stop, again_seconds)
        seconds = time.perf_counter() - begin
        ended = status == 0
        if stage == "train":
            state = dataclasses.replace(state, trained=ended, train_seconds=state.train_seconds + seconds)
        else:
            evaluated = job.evaluation_hash if ended else ""
            state = dataclasses.replace(state, evaluated=evaluated, evaluate_seconds=seconds)
        state.write(folder)
        if status is None:
            return "stopped", ""
        if not ended:
            return "failed", reason
    return "finished", ""


def _write_experiment(run: Run) -> None:
    write_json(run.folder / workdir.CONFIG, to_dict(run.config))
    with replacing(run.folder / workdir.EXPERIMENT) as temporary:
        temporary.write_text(_EXPERIMENT.format(name=run.config.name, config=workdir.CONFIG), "utf-8")


def _stages(job: Job, state: RunState) -> dict[str, list[str]]:
    folder, evaluation = job.run.folder, job.evaluation
    training = folder / workdir.TRAINING
    train = ["train", str(folder / workdir.EXPERIMENT), "--workdir", str(training)]
    evaluate = [
        *("evaluate", evaluation.evaluation_set, "--root", evaluation.root),
        *("--checkpoint", str(training / workdir.MODEL), "--out", str(folder / workdir.EVALUATION)),
        *("--batch-size", str(evaluation.batch_size)),
    ]
    return {"evaluate": evaluate} if state.trained else {"train": train, "evaluate": evaluate}


def _call(
    job: Job, arguments: list[str], log: Path, stop: Stop, again_seconds: float | None
) -> tuple[int | None, str]:
    """Runs the program; returns its exit status (None if it was stopped) and the last line of its output."""
    if stop.times:
        return None, ""
    with log.open("ab") as file:
        file.write(f"$ audiosep {' '.join(arguments)}\n".encode())
        file.flush()
        begin = file.tell()
        # In a session of its own the process gets Ctrl-C once: through `stop`, not from the terminal, too.
        process = subprocess.Popen(
            [*job.program, *arguments],
            cwd=job.cwd,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=() if job.lock is None else (job.lock,),
        )
        status = _wait(process, lambda: stop.times, again_seconds)
    if status != 0 and stop.times:
        return None, ""
    return status, "" if status == 0 else _reason(log, begin, status)


def _wait(process: subprocess.Popen, asked: Callable[[], int], again_seconds: float | None) -> int:
    sent, last = 0, 0.0
    while True:
        try:
            return process.wait(_POLL_SECONDS)
        except subprocess.TimeoutExpired:
            while sent < min(asked(), len(_SIGNALS)):
                process.send_signal(_SIGNALS[sent])
                sent, last = sent + 1, time.monotonic()
            if sent and again_seconds is not None and time.monotonic() - last > again_seconds:
                process.send_signal(_SIGNALS[sent - 1])
                last = time.monotonic()
        except BaseException:  # such as the exception with which Ray cancels a task
            process.terminate()
            process.wait()
            raise


def _reason(log: Path, begin: int, status: int) -> str:
    text = log.read_bytes()[begin:].decode("utf-8", errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    said = [line for line in lines if line.startswith("audiosep: error: ")] or lines
    last = said[-1].removeprefix("audiosep: error: ") if said else ""
    ended = f"ended by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
    return f"{last} ({ended})" if last else ended
