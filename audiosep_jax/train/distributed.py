"""How the processes of a run find each other."""

import dataclasses
import os
import re
import threading
import warnings
from concurrent import futures

import jax
from jax._src.clusters import ClusterEnv  # JAX tells nowhere else whether it knows the cluster

from audiosep_jax.errors import MissingPackageError, TrainingError, TransientError, UsageError

_FLAGS = "--coordinator HOST:PORT --process-index I --process-count N"


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistributedOptions:
    """Which processes belong together. Without any of the first three the cluster is asked.

    Attributes:
      coordinator: HOST:PORT of process 0, a port of it that is free and that the others reach.
      process_index: of this process, from 0 on.
      process_count: of the run. 1 alone is a run of this process, whatever the cluster says.
      wait_seconds: how long processes wait for each other at the start.
    """

    coordinator: str = ""
    process_index: int | None = None
    process_count: int | None = None
    wait_seconds: int = 300

    def __post_init__(self) -> None:
        index, count = self.process_index, self.process_count
        if self.wait_seconds < 1:
            raise UsageError(f"--wait-seconds is {self.wait_seconds}: give 1 or more.")
        if count == 1 and not self.coordinator and index in (None, 0):
            return
        if not self.coordinator and index is None and count is None:
            return
        if not self.coordinator or index is None or count is None:
            raise UsageError(f"give all three of {_FLAGS}, or none of them on a cluster that JAX knows.")
        if not re.fullmatch(r".+:\d{1,5}", self.coordinator):
            raise UsageError(f"--coordinator {self.coordinator!r} is not HOST:PORT, such as 10.0.0.1:1234.")
        if not 0 <= index < count:
            raise UsageError(
                f"--process-index {index} does not go with --process-count {count}: give 0 to {count - 1}."
            )


def initialize(options: DistributedOptions = DistributedOptions()) -> None:
    """Joins the processes of a run; call it before anything else of JAX.

    TPU pods, SLURM and Kubernetes tell a process its place (JAX's own detection); elsewhere the options do.
    A process that nothing tells of others is a run of its own.

    Raises:
      AudioSepError: the cluster's description is not whole.
      TransientError: the others do not come in time.
    """
    if options.process_count == 1 and not options.coordinator:
        return
    if not options.coordinator:
        _refuse_half_described_clusters()
    # Without it a collective operation of several CPU processes is refused.
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # JAX waits where Ctrl-C does not reach, and ends the process without a word of ours when its time is
    # over: let it wait for longer, and beside the main thread.
    joining = futures.Future()
    threading.Thread(target=_join, args=(options, joining), name="joining", daemon=True).start()
    try:
        joining.result(options.wait_seconds)
    except futures.TimeoutError as error:
        raise TransientError(
            f"{_FAILED} within {options.wait_seconds} s: see that all of them have been started, with the "
            "same --coordinator and --process-count where these are given and a --process-index of their "
            "own, and that the coordinator's port is free there and open to the others."
        ) from error
    except ValueError as error:
        if "coordinator_address should be defined" in str(error):
            return  # no cluster
        raise TrainingError(f"{_FAILED} ({_first_line(error)}): give {_FLAGS}.") from error
    except (RuntimeError, OSError) as error:
        if "must be called before" in str(error) and not options.coordinator and not _in_a_cluster():
            return  # a program that has used JAX already, and is alone
        raise TrainingError(
            f"{_FAILED} ({_first_line(error)}): see that the coordinator's port is free, or give {_FLAGS}."
        ) from error


def _in_a_cluster() -> bool:
    """Whether JAX's own detection would find other processes."""
    kinds = ClusterEnv._cluster_types
    return any(kind.is_env_present() for kind in kinds if not kind.opt_in_only_method)


def _join(options: DistributedOptions, joining: futures.Future[None]) -> None:
    try:
        with warnings.catch_warnings():
            # A pod of Kubernetes that belongs to no job needs no package to find others.
            warnings.filterwarnings("ignore", message="(?s).*kubernetes", category=UserWarning)
            jax.distributed.initialize(
                coordinator_address=options.coordinator or None,
                num_processes=options.process_count,
                process_id=options.process_index,
                local_device_ids=None if options.coordinator else _devices_of_a_lone_task(),
                cluster_detection_method="deactivate" if options.coordinator else None,
                initialization_timeout=options.wait_seconds + _LONGER_SECONDS,
            )
    except BaseException as error:
        joining.set_exception(error)
    else:
        joining.set_result(None)


_LONGER_SECONDS = 60
_FAILED = "the processes of this run could not be joined"


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".")


def _refuse_half_described_clusters() -> None:
    """Refuses places where every process would take itself for the only one and all would train alone."""
    environment = os.environ
    if "JOB_COMPLETION_INDEX" in environment and "KUBERNETES_SERVICE_HOST" in environment:
        on_tpu = {"TPU_WORKER_HOSTNAMES", "TPU_PROCESS_ADDRESSES"} & set(environment)
        try:
            import kubernetes  # noqa: F401  # pyright: ignore[reportMissingImports]
        except ImportError:
            if not on_tpu and "JAX_COORDINATOR_ADDRESS" not in environment:
                raise MissingPackageError(
                    "this is a pod of an indexed Kubernetes job, which can find the others with the package "
                    f"kubernetes alone: pip install 'jax[k8s]', or give {_FLAGS}; --process-count 1 trains "
                    "in this pod alone."
                ) from None
    tasks = environment.get("SLURM_NTASKS", "1")
    if tasks != "1" and "SLURM_JOB_ID" in environment and "SLURM_STEP_NODELIST" not in environment:
        raise TrainingError(
            f"this SLURM job has {tasks} tasks, but this process is none of them: start it with srun; "
            "--process-count 1 trains in this process alone."
        )


def _devices_of_a_lone_task() -> list[int] | None:
    """The GPUs of a SLURM task that has its node to itself; JAX would give it the first one alone."""
    per_node = os.environ.get("SLURM_STEP_TASKS_PER_NODE", "")
    gpus = os.environ.get("SLURM_GPUS_ON_NODE", "")
    if (
        not re.fullmatch(r"1(\(x\d+\))?", per_node)
        or not gpus.isdigit()
        or "JAX_LOCAL_DEVICE_IDS" in os.environ
    ):
        return None
    return list(range(int(gpus)))


def process_index() -> int:
    """Returns this process's place among those of the run, from 0 on."""
    return jax.process_index()


def is_lead() -> bool:
    """Tells whether this process is the one that writes what is written once."""
    return process_index() == 0
