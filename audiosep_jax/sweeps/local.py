"""Performs the jobs of a sweep by processes of this machine."""

from collections.abc import Callable, Sequence
from concurrent import futures

from audiosep_jax.sweeps.worker import Done, Job, Stop, work


def run_here(
    jobs: Sequence[Job], *, at_once: int, started: Callable[[Job], None], ended: Callable[[Done], None]
) -> None:
    """Performs jobs, `at_once` at a time; one that fails does not stop the others.

    At Ctrl-C or SIGTERM the trainings save and end before the exception goes on; at a second one they end
    at once.

    Args:
      jobs: in the order in which they start.
      at_once: how many run at a time.
      started: called with a job before it starts, from a thread of its own.
      ended: called with what became of a job, from the calling thread.
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
