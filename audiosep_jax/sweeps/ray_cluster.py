"""Performs the jobs of a sweep as tasks of a Ray cluster."""

import importlib.util
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any, Self

from audiosep_jax.errors import MissingPackageError, Stopped, SweepError, listed, shown
from audiosep_jax.sweeps.worker import Done, Job, work

_NATIVE = {"CPU": "num_cpus", "GPU": "num_gpus"}
_POLL_SECONDS = 1.0


def run_on_ray(
    jobs: Sequence[Job],
    *,
    at_once: int,
    resources: Mapping[str, float],
    started: Callable[[Job], None],
    ended: Callable[[Done], None],
) -> None:
    """Performs jobs as tasks of Ray; a failed job does not stop the others.

    `RAY_ADDRESS` names the cluster; without it the cluster of this machine is used, or one is started. All
    machines need this package and the same paths. When a machine is lost, its runs resume on another one. At
    Ctrl-C or SIGTERM the trainings save and end before the exception is raised. `resources` are those of each
    job, such as {"CPU": 8, "GPU": 1, "TPU": 4}, by default one CPU; `at_once` jobs are submitted at a time.

    Raises:
      MissingPackageError: Ray is not installed.
      SweepError: the cluster cannot be reached, or none of its machines has the resources.
      Stopped: SIGTERM came.
    """
    if importlib.util.find_spec("ray") is None:
        raise MissingPackageError(
            "--executor ray needs the package ray, which is not installed: pip install 'audiosep_jax[ray]'."
        )
    import ray  # pyright: ignore[reportMissingImports]
    from ray.exceptions import RayError  # pyright: ignore[reportMissingImports]

    own = not ray.is_initialized()
    with _Sigterm() as noted:
        try:
            if own:
                ray.init(log_to_driver=False, include_dashboard=False)
            noted.take()
            _check_room(ray.nodes(), resources)
            options: dict[str, Any] = {
                key: resources[name] for name, key in _NATIVE.items() if name in resources
            }
            options["resources"] = {name: value for name, value in resources.items() if name not in _NATIVE}
            task = ray.remote(work).options(max_retries=3, **options)
            waiting, running = list(jobs), {}
            try:
                while waiting or running:
                    while waiting and len(running) < at_once:
                        job = waiting.pop(0)
                        started(job)
                        running[task.remote(job)] = job
                    ready, _ = ray.wait(list(running), num_returns=1, timeout=_POLL_SECONDS)
                    noted.check()
                    for reference in ready:
                        ended(_result(reference, running.pop(reference)))
            except BaseException:
                for reference in running:
                    ray.cancel(reference)
                if running:
                    ray.wait(list(running), num_returns=len(running))
                raise
        except (ConnectionError, RayError) as error:
            raise SweepError(f"the Ray cluster cannot be used: {shown(error)}.") from error
        finally:
            if own and ray.is_initialized():
                ray.shutdown()


def _result(reference: Any, job: Job) -> Done:
    import ray  # pyright: ignore[reportMissingImports]
    from ray.exceptions import RayError  # pyright: ignore[reportMissingImports]

    try:
        return ray.get(reference)
    except RayError as error:
        reason = f"Ray lost it: {shown(str(error).splitlines()[0])}"
        return Done(name=job.run.name, outcome="failed", log=job.run.folder, reason=reason)


class _Sigterm:
    """Records SIGTERM in a `with`: Ray would turn an exception of the signal handler into another one."""

    def __enter__(self) -> Self:
        self._came = False
        self._main = threading.current_thread() is threading.main_thread()
        self._before = signal.getsignal(signal.SIGTERM)
        return self

    def take(self) -> None:
        """Installs the handler, after Ray has installed its own at its start."""
        if self._main:
            signal.signal(signal.SIGTERM, self._note)

    def check(self) -> None:
        """Raises Stopped where SIGTERM came."""
        if self._came:
            raise Stopped(signal.SIGTERM)

    def __exit__(self, *_error: object) -> None:
        if self._main:
            signal.signal(signal.SIGTERM, self._before)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self._came = True


def _check_room(nodes: Sequence[Mapping[str, Any]], resources: Mapping[str, float]) -> None:
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    if any(all(has.get(name, 0) >= amount for name, amount in resources.items()) for has in alive):
        return
    asked = ", ".join(f"{name}={amount:g}" for name, amount in resources.items())
    known = sorted({name for has in alive for name in has if ":" not in name})
    raise SweepError(
        f"--resources {asked}: no machine of the Ray cluster has as much, and the runs would wait forever; "
        f"ask for less: its machines have {listed(known)}."
    )
