"""The device mesh: one axis over which the batch is split, parameters on every device."""

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from audiosep_jax.errors import AudioSepError

BATCH_AXIS = "data"


def make_mesh() -> Mesh:
    """Returns a mesh of all local devices."""
    return jax.make_mesh((jax.local_device_count(),), (BATCH_AXIS,), axis_types=(AxisType.Auto,))


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The first axis split over the devices."""
    return NamedSharding(mesh, PartitionSpec(BATCH_AXIS))


def replicated(mesh: Mesh) -> NamedSharding:
    """A copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def check_batch_size(batch_size: int, mesh: Mesh) -> None:
    """Raises AudioSepError where a batch does not divide over the devices."""
    if batch_size % mesh.size:
        raise AudioSepError(
            f"train.batch_size {batch_size} cannot be split over {mesh.size} devices: choose a multiple of "
            f"{mesh.size}."
        )
