"""Joins the processes of a run, by flags or by the cluster's environment."""

import dataclasses
import importlib.util
import os
import re
import threading
import warnings
from concurrent import futures

import jax

from audiosep_jax.errors import MissingPackageError, TrainingError, TransientError, UsageError
from audiosep_jax.train.jax_internals import in_a_cluster

_FLAGS = "--coordinator HOST:PORT --process-index I --process-count N"


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistributedOptions:
    """The processes of a run, from the options of `audiosep train`.

    Without coordinator, index and count JAX detects the cluster; a count of 1 without a coordinator trains in
    this process alone, even in a cluster.
    """

    coordinator: str = ""
    process_index: int | None = None
    process_count: int | None = None
    wait_seconds: int = 300

    def __post_init__(self) -> None:
        index, count = self.process_index, self.process_count
        if self.wait_seconds < 1:
            raise UsageError(f"--wait-seconds is {self.wait_seconds}: give 1 or more.")
        if not self.coordinator and (index, count) in ((None, None), (None, 1), (0, 1)):
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

    JAX detects TPU pods, SLURM and Kubernetes; elsewhere the options name the processes. Without either, this
    process is the whole run.

    Raises:
      AudioSepError: the description of the cluster is incomplete, Kubernetes needs its package, the
        coordinator cannot be reached, or the others do not join in time.
    """
    if options.process_count == 1 and not options.coordinator:
        return
    if not options.coordinator:
        _refuse_half_described_clusters()
    # JAX refuses collectives between CPU processes without it.
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # While JAX waits, Ctrl-C has no effect, and at its timeout it aborts the process without our message. So
    # it waits in another thread, and longer than the main thread.
    joining = futures.Future()
    threading.Thread(target=_join, args=(options, joining), name="joining", daemon=True).start()
    try:
        joining.result(options.wait_seconds)
    except futures.TimeoutError as error:
        raise TransientError(
            f"{_FAILED} within {options.wait_seconds} s: check that all of them were started, with the same "
            "--coordinator and --process-count (if given) and different --process-index, and that the "
            "coordinator's port is free there and open to the others."
        ) from error
    except ValueError as error:
        if "coordinator_address should be defined" in str(error):
            return  # no cluster
        raise TrainingError(f"{_FAILED} ({_first_line(error)}): give {_FLAGS}.") from error
    except (RuntimeError, OSError) as error:
        if "must be called before" in str(error) and not options.coordinator and not in_a_cluster():
            return  # a program without others that has used JAX already
        raise TrainingError(
            f"{_FAILED} ({_first_line(error)}): check that the coordinator's port is free, or give {_FLAGS}."
        ) from error


def _join(options: DistributedOptions, joining: futures.Future[None]) -> None:
    try:
        with warnings.catch_warnings():
            # JAX warns that it needs the package kubernetes; a pod outside of a job has no others to find.
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
    """Refuses environments in which every process would train alone, unaware of the others."""
    environment = os.environ
    in_a_job = {"JOB_COMPLETION_INDEX", "KUBERNETES_SERVICE_HOST"} <= set(environment)
    found = {"TPU_WORKER_HOSTNAMES", "TPU_PROCESS_ADDRESSES", "JAX_COORDINATOR_ADDRESS"} & set(environment)
    if in_a_job and not found and importlib.util.find_spec("kubernetes") is None:
        raise MissingPackageError(
            "this pod of an indexed Kubernetes job needs the package kubernetes to find the others: "
            f"pip install 'jax[k8s]', or give {_FLAGS}; --process-count 1 trains in this pod alone."
        )
    tasks = environment.get("SLURM_NTASKS", "1")
    if tasks != "1" and "SLURM_JOB_ID" in environment and "SLURM_STEP_NODELIST" not in environment:
        raise TrainingError(
            f"this SLURM job has {tasks} tasks, and this process is not one of them: start it with srun; "
            "--process-count 1 trains in this process alone."
        )


def _devices_of_a_lone_task() -> list[int] | None:
    """Returns the GPUs of a SLURM task that is alone on its node; JAX would use only the first one."""
    per_node = os.environ.get("SLURM_STEP_TASKS_PER_NODE", "")
    gpus = os.environ.get("SLURM_GPUS_ON_NODE", "")
    alone = re.fullmatch(r"1(\(x\d+\))?", per_node) is not None
    if alone and gpus.isdigit() and "JAX_LOCAL_DEVICE_IDS" not in os.environ:
        return list(range(int(gpus)))
    return None


def is_lead() -> bool:
    """Tells whether this is process 0, which writes the files that exist once per run."""
    return jax.process_index() == 0
