"""Performs the jobs of a sweep on a Ray cluster, with the function that performs them here."""

import importlib.util
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from audiosep_jax.errors import AudioSepError, shown
from audiosep_jax.sweeps.worker import Done, Job, work

_NATIVE = {"CPU": "num_cpus", "GPU": "num_gpus"}


def run_on_ray(
    jobs: Sequence[Job],
    *,
    at_once: int,
    resources: Mapping[str, float],
    started: Callable[[Job], None],
    ended: Callable[[Done], None],
) -> None:
    """Performs jobs as tasks of Ray; one that fails does not stop the others.

    `RAY_ADDRESS` names the cluster; without it the one of this machine is used, or one is started here. All
    its machines need this package and the same paths. A machine that is lost has its runs started again
    elsewhere, where they go on. At Ctrl-C or SIGTERM the trainings save and end before the exception goes
    on.

    Args:
      jobs: in the order in which they are handed over.
      at_once: how many are handed over at a time.
      resources: what each needs, such as {"CPU": 8, "GPU": 1, "TPU": 4}; nothing is one CPU.
      started: called with a job when it is handed over.
      ended: called with what became of a job.

    Raises:
      AudioSepError: Ray is not installed, there is no such cluster, or no machine of it has the resources.
    """
    if importlib.util.find_spec("ray") is None:
        raise AudioSepError(
            "--executor ray needs Ray, which is not installed: pip install 'audiosep_jax[ray]'."
        )
    import ray
    from ray.exceptions import RayError

    own = not ray.is_initialized()
    try:
        if own:
            before = signal.getsignal(signal.SIGTERM)
            ray.init(log_to_driver=False, include_dashboard=False)
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, before)  # Ray takes it, and would exit with another status
        _check_room(ray.nodes(), resources)
        options: dict[str, Any] = {key: resources[name] for name, key in _NATIVE.items() if name in resources}
        options["resources"] = {name: value for name, value in resources.items() if name not in _NATIVE}
        task = ray.remote(work).options(max_retries=3, **options)
        waiting, running = list(jobs), {}
        try:
            while waiting or running:
                while waiting and len(running) < at_once:
                    job = waiting.pop(0)
                    started(job)
                    running[task.remote(job)] = job
                ready, _ = ray.wait(list(running), num_returns=1)
                job = running.pop(ready[0])
                try:
                    ended(ray.get(ready[0]))
                except RayError as error:
                    reason = f"Ray lost it: {shown(str(error).splitlines()[0])}"
                    ended(Done(name=job.run.name, outcome="failed", log=job.run.folder, reason=reason))
        except BaseException:
            for reference in running:
                ray.cancel(reference)
            if running:
                ray.wait(list(running), num_returns=len(running))
            raise
    except (ConnectionError, RayError) as error:
        raise AudioSepError(f"the Ray cluster cannot be used: {shown(error)}.") from error
    finally:
        if own and ray.is_initialized():
            ray.shutdown()


def _check_room(nodes: Sequence[Mapping[str, Any]], resources: Mapping[str, float]) -> None:
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    if any(all(has.get(name, 0) >= amount for name, amount in resources.items()) for has in alive):
        return
    asked = ", ".join(f"{name}={amount:g}" for name, amount in resources.items())
    known = sorted({name for has in alive for name in has if ":" not in name})
    raise AudioSepError(
        f"--resources {asked}: no machine of the Ray cluster has as much, and the runs would wait for ever; "
        f"it knows {', '.join(known)}."
    )
