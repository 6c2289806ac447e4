"""The device mesh: how examples and the train state are sharded over the devices of all processes."""

import collections
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from audiosep_jax.config import MeshConfig
from audiosep_jax.errors import ConfigError, DeviceError, listed

AXES = ("replica", "data", "fsdp")
"""The batch is split over all three; parameters and the optimizer's state over the last."""


def make_mesh(config: MeshConfig = MeshConfig(), devices: Sequence[Any] | None = None) -> Mesh:
    """Returns a mesh with the axes `AXES`, by default over all devices of all processes.

    Neighbours on an axis are neighbours in the network if the platform tells how its devices are connected.
    The first axes run between slices, which a slow network connects, as far as the sizes allow.

    Raises:
      ConfigError: the product of the sizes is not the number of devices.
      DeviceError: processes have different numbers of devices.
    """
    devices = jax.devices() if devices is None else devices
    shape = _shape(config, len(devices))
    per_process = collections.Counter(device.process_index for device in devices)
    if len(set(per_process.values())) > 1:
        raise DeviceError(
            "every process must have the same number of devices, but they have "
            f"{listed(per_process[index] for index in sorted(per_process))}: make as many visible to each."
        )
    slices = len({getattr(device, "slice_index", 0) for device in devices})
    if slices == 1:
        arranged = mesh_utils.create_device_mesh(shape, devices, allow_split_physical_axes=True)
    else:
        between = []
        for size in shape:
            between.append(math.gcd(size, slices // math.prod(between)))
        within = [size // count for size, count in zip(shape, between, strict=True)]
        arranged = mesh_utils.create_hybrid_device_mesh(
            within, between, devices, allow_split_physical_axes=True
        )
    return Mesh(arranged, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def _shape(config: MeshConfig, devices: int) -> tuple[int, ...]:
    sizes = [getattr(config, name) for name in AXES]
    given = math.prod(size for size in sizes if size != -1)
    if (devices % given if -1 in sizes else devices != given) or given > devices:
        product = " · ".join(
            f"{name} {'?' if size == -1 else size}" for name, size in zip(AXES, sizes, strict=True)
        )
        counted = "1 device" if devices == 1 else f"{devices} devices"
        raise ConfigError(
            f"the mesh ({product}) does not fit {counted}: give mesh.{', mesh.'.join(AXES)} sizes "
            f"whose product is {devices}, or set one of them to -1."
        )
    return tuple(devices // given if size == -1 else size for size in sizes)


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of a batch: its first axis split over all devices."""
    return NamedSharding(mesh, PartitionSpec(mesh.axis_names))


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the sharding with a copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def state_sharding(mesh: Mesh, state: Any) -> Any:
    """Returns the shardings of a `TrainState`, or of any tree of arrays or `jax.ShapeDtypeStruct`s.

    Parameters, their moving average and the optimizer's moments are split over `fsdp`, along their largest
    axis that `fsdp` divides (the last one of equal axes). Every device has a copy of arrays without such an
    axis, of vectors (too small to be worth a message between devices), of statistics and of counters.
    """
    count = mesh.shape.get("fsdp", 1)

    def place(path: tuple[Any, ...], leaf: Any) -> NamedSharding:
        sizes = [size if size % count == 0 else 0 for size in leaf.shape]
        of_statistics = any(getattr(part, "name", None) == "batch_stats" for part in path)
        if count == 1 or of_statistics or len(sizes) < 2 or not any(sizes):
            return replicated(mesh)
        axis = max(range(len(sizes)), key=lambda axis: (sizes[axis], axis))
        return NamedSharding(mesh, PartitionSpec(*([None] * axis), "fsdp"))

    return jax.tree_util.tree_map_with_path(place, state)


def put_state(mesh: Mesh, state: Any) -> Any:
    """Puts a state, of which every process holds the same copy, on the devices of all processes."""

    def put(leaf: Any, sharding: NamedSharding) -> jax.Array:
        host = np.asarray(leaf)
        return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

    return jax.tree.map(put, state, state_sharding(mesh, state))


def put_batch(mesh: Mesh, arrays: Mapping[str, np.ndarray], *, microbatches: int = 1) -> dict[str, jax.Array]:
    """Returns the global batch from this process's part of it, every example on one device.

    The pipeline of `arrays` has the same `microbatches`, and the first microbatch comes first. Every device
    gets a share of each, one after the other, so its examples do not depend on the number of devices.
    """
    sharding = batch_sharding(mesh)
    local = sum(device.process_index == jax.process_index() for device in mesh.devices.flat)

    def put(array: np.ndarray) -> jax.Array:
        if microbatches > 1:
            parts = array.reshape(microbatches, local, -1, *array.shape[1:])
            array = np.ascontiguousarray(parts.swapaxes(0, 1)).reshape(array.shape)
        return jax.make_array_from_process_local_data(sharding, array)

    # An explicit transfer like `jax.device_put`, but with several processes the guard does not see that.
    with jax.transfer_guard("allow"):
        return {name: put(array) for name, array in arrays.items()}


def check_batch_size(batch_size: int, mesh: Mesh, *, microbatches: int = 1) -> None:
    """Raises ConfigError if a batch cannot be split over microbatches and devices."""
    unit = mesh.size * microbatches
    if batch_size % unit:
        over = f"{mesh.size} devices" + (f" in {microbatches} microbatches" if microbatches > 1 else "")
        raise ConfigError(
            f"train.batch_size {batch_size} cannot be split over {over}: choose a multiple of {unit}."
        )
