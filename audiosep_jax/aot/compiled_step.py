"""Compiles the real train step of an experiment for devices that need not exist."""

import dataclasses
import math
import re
import time
from typing import Any

import jax
from jax.sharding import Mesh

from audiosep_jax.aot.topology import Topology
from audiosep_jax.config import ExperimentConfig
from audiosep_jax.errors import DeviceError, shown
from audiosep_jax.train import mesh as meshes
from audiosep_jax.train import state as states
from audiosep_jax.train.optimizer import make_optimizer
from audiosep_jax.train.step import batch_like, make_train_step

_UNITS = {"": 1, "B": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
_BYTES = r"([\d.]+)\s?([BKMGT]?)"
_PATTERNS = (
    # XLA:TPU has one message before it has allocated the program's memory, and another one after.
    re.compile(rf"HLO temporaries \({_BYTES}\) exceeds available HBM \({_BYTES}\)"),
    re.compile(rf"Used {_BYTES} of {_BYTES} hbm"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compiled:
    """A compiled step, or the memory that it lacks. Bytes are per device.

    Attributes:
      executable: None if the step does not fit.
      wanted_bytes: HBM that a step that does not fit needs; None if it fits.
      available_bytes: HBM in the compiler's message; None if it fits.
      argument_bytes: of state and batch.
      parameters: number of trained parameters.
      seconds: duration of the compilation.
    """

    mesh: Mesh
    executable: jax.stages.Compiled | None
    wanted_bytes: int | None
    available_bytes: int | None
    argument_bytes: int
    state_bytes: int
    parameters: int
    seconds: float


def compile_step(config: ExperimentConfig, topology: Topology) -> Compiled:
    """Compiles the train step, over `config.mesh` on the topology's devices.

    Raises:
      ConfigError: the mesh or the batch does not fit the number of devices.
      DeviceError: the compiler fails for another reason than memory.
    """
    mesh = meshes.make_mesh(config.mesh, topology.devices)
    batch_size = config.train.batch_size
    meshes.check_batch_size(batch_size, mesh, microbatches=config.execution.microbatches)
    optimizer = make_optimizer(config.optimizer, config.train.steps)
    state = states.shapes(config, optimizer)
    batch = batch_like(config, mesh)
    state_bytes = _bytes_per_device(state, meshes.state_sharding(mesh, state))
    argument_bytes = state_bytes + _bytes_per_device(batch, [leaf.sharding for leaf in batch.values()])
    parameters = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(state.params))
    started = time.perf_counter()
    executable, wanted, available = None, None, None
    with jax.set_mesh(mesh):
        traced = make_train_step(config, optimizer, mesh).trace(state, batch)  # pyright: ignore[reportArgumentType]
        platforms = ("tpu",) if topology.chip else None
        try:
            executable = traced.lower(lowering_platforms=platforms).compile()
        except jax.errors.JaxRuntimeError as error:
            found = memory_of(str(error))
            if found is None:
                raise DeviceError(
                    f"the compiler cannot compile this step for {topology.name}: {shown(error, longest=500)}"
                ) from error
            temporaries, wanted, available = found
            wanted += argument_bytes if temporaries else 0
    return Compiled(
        mesh=mesh,
        executable=executable,
        wanted_bytes=wanted,
        available_bytes=available,
        argument_bytes=argument_bytes,
        state_bytes=state_bytes,
        parameters=parameters,
        seconds=time.perf_counter() - started,
    )


def memory_of(message: str) -> tuple[bool, int, int] | None:
    """Returns the numbers of a compiler's message about missing memory; None if it is about something else.

    They are whether the needed bytes are only those of temporaries, the needed and the available bytes.

    Examples:
      >>> memory_of("Ran out of memory. Used 20.5G of 15.75G hbm.")
      (False, 22011707392, 16911433728)
    """
    for index, pattern in enumerate(_PATTERNS):
        if match := pattern.search(message):
            wanted, available = (round(float(match[i]) * _UNITS[match[i + 1]]) for i in (1, 3))
            return index == 0, wanted, available
    return None


def _bytes_per_device(tree: Any, shardings: Any) -> int:
    """Returns the bytes of a tree on one device, by the shardings of its leaves."""
    leaves = zip(jax.tree.leaves(tree), jax.tree.leaves(shardings), strict=True)
    return sum(math.prod(place.shard_shape(leaf.shape)) * leaf.dtype.itemsize for leaf, place in leaves)
