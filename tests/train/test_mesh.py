"""Meshes from configs, shardings, and sizes that do not fit."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import training_runs
from jax.sharding import PartitionSpec

from audiosep_jax.config import MeshConfig
from audiosep_jax.errors import AudioSepError
from audiosep_jax.train import mesh as meshes
from audiosep_jax.train import state as states
from audiosep_jax.train.optimizer import make_optimizer


@dataclasses.dataclass(frozen=True)
class Device:
    """The attributes of a device that a mesh reads."""

    id: int
    process_index: int = 0
    slice_index: int = 0
    platform: str = "none"
    device_kind: str = "none"


def devices(count, *, processes=1, slices=1):
    return [Device(i, i * processes // count, i * slices // count) for i in range(count)]


def ids(mesh):
    return np.vectorize(lambda device: device.id)(mesh.devices).tolist()


@pytest.mark.parametrize(
    ("config", "count", "shape"),
    [
        (MeshConfig(), 8, (1, 8, 1)),
        (MeshConfig(), 1, (1, 1, 1)),
        (MeshConfig(fsdp=4), 8, (1, 2, 4)),
        (MeshConfig(replica=-1, data=1, fsdp=2), 6, (3, 1, 2)),
        (MeshConfig(replica=2, data=2, fsdp=3), 12, (2, 2, 3)),
    ],
)
def test_one_axis_takes_what_the_others_leave(config, count, shape):
    mesh = meshes.make_mesh(config, devices(count))
    assert dict(mesh.shape) == dict(zip(("replica", "data", "fsdp"), shape, strict=True))
    assert sorted(device.id for device in mesh.devices.flat) == list(range(count))


def test_the_mesh_without_arguments_has_all_devices():
    assert meshes.make_mesh().size == jax.device_count()


@pytest.mark.parametrize(
    ("config", "count", "message"),
    [
        (MeshConfig(fsdp=3), 8, r"\(replica 1 · data \? · fsdp 3\) does not fit 8 devices: .* is 8"),
        (MeshConfig(replica=2, data=2), 8, r"\(replica 2 · data 2 · fsdp 1\) does not fit 8 devices"),
        (MeshConfig(data=16), 8, "does not fit 8 devices"),
        (MeshConfig(fsdp=16), 8, "does not fit 8 devices"),
        (MeshConfig(data=2), 1, r"does not fit 1 device: .* is 1"),
    ],
)
def test_a_mesh_that_does_not_fit_is_refused(config, count, message):
    with pytest.raises(AudioSepError, match=message):
        meshes.make_mesh(config, devices(count))


def test_processes_must_have_the_same_number_of_devices():
    uneven = [*devices(3), dataclasses.replace(devices(4)[3], process_index=1)]
    with pytest.raises(AudioSepError, match="same number of devices, but they have 3, 1"):
        meshes.make_mesh(MeshConfig(), uneven)


@pytest.mark.parametrize(
    ("config", "rows"),
    [
        (MeshConfig(replica=2), [[0, 1, 2, 3], [4, 5, 6, 7]]),
        (MeshConfig(), [[0, 1, 2, 3, 4, 5, 6, 7]]),
        (MeshConfig(fsdp=4), [[0, 1, 2, 3], [4, 5, 6, 7]]),
    ],
)
def test_slices_lie_along_the_first_axes_whatever_order_devices_come_in(config, rows):
    shuffled = np.random.default_rng(0).permutation(np.array(devices(8, slices=2), dtype=object))
    mesh = meshes.make_mesh(config, list(shuffled))
    slices = np.vectorize(lambda device: device.slice_index)(mesh.devices).reshape(np.shape(rows))
    expected = np.vectorize(lambda number: number // 4)(np.array(rows))
    assert slices.tolist() == expected.tolist()


def test_parameters_moments_and_average_are_split_and_nothing_else():
    config = training_runs.experiment("none", ema_decay=0.9)
    shapes = states.shapes(config, make_optimizer(config.optimizer, 10))
    mesh = jax.sharding.AbstractMesh((1, 2, 4), meshes.AXES)
    placed = meshes.state_sharding(mesh, shapes)
    of_tree = {
        jax.tree_util.keystr(path): (leaf, sharding.spec)
        for (path, leaf), sharding in zip(
            jax.tree_util.tree_leaves_with_path(shapes), jax.tree.leaves(placed), strict=True
        )
    }
    for name, (leaf, spec) in of_tree.items():
        if leaf.ndim < 2 or name.startswith(".batch_stats") or not any(n % 4 == 0 for n in leaf.shape):
            assert spec == PartitionSpec(), name
        else:
            axis = spec.index("fsdp")
            assert leaf.shape[axis] == max(n for n in leaf.shape if n % 4 == 0), name
    split = {name for name, (_, spec) in of_tree.items() if spec != PartitionSpec()}
    of_parameters = {name.removeprefix(".params") for name in split if name.startswith(".params")}
    assert len(of_parameters) > 5
    for part in (".params", ".ema", ".opt_state[0].mu", ".opt_state[0].nu", ".opt_state[0].nu_max"):
        assert {name.removeprefix(part) for name in split if name.startswith(f"{part}[")} == of_parameters
    assert len(split) == 5 * len(of_parameters)


def test_a_kernel_is_split_where_it_is_largest():
    mesh = jax.sharding.AbstractMesh((1, 1, 4), meshes.AXES)
    shapes = {
        "wide": jnp.zeros((3, 3, 8, 16)),
        "square": jnp.zeros((8, 8)),
        "odd": jnp.zeros((4, 1025)),
        "never": jnp.zeros((3, 5)),
        "vector": jnp.zeros(64),
    }
    placed = meshes.state_sharding(mesh, shapes)
    assert {name: tuple(sharding.spec) for name, sharding in placed.items()} == {
        "wide": (None, None, None, "fsdp"),
        "square": (None, "fsdp"),
        "odd": ("fsdp",),
        "never": (),
        "vector": (),
    }


def test_without_fsdp_the_state_is_everywhere():
    mesh = jax.sharding.AbstractMesh((1, 8, 1), meshes.AXES)
    assert meshes.state_sharding(mesh, jnp.zeros((8, 8))).spec == PartitionSpec()


def test_a_state_is_the_same_after_put_state():
    mesh = meshes.make_mesh()
    tree = {"kernel": np.arange(12, dtype=np.float32).reshape(3, 4), "step": np.int32(7)}
    put = meshes.put_state(mesh, tree)
    jax.tree.map(np.testing.assert_array_equal, put, tree)
    assert put["step"].dtype == np.int32
    batch = {"segments": np.arange(48).reshape(8, 3, 2)}
    with jax.transfer_guard("disallow"):
        put = meshes.put_batch(mesh, batch, microbatches=2)
    assert put["segments"].sharding == meshes.batch_sharding(mesh)
    np.testing.assert_array_equal(np.sort(put["segments"], axis=0), batch["segments"])


def test_a_batch_that_does_not_divide_is_refused():
    mesh = jax.sharding.AbstractMesh((1, 2, 2), meshes.AXES)
    meshes.check_batch_size(8, mesh)
    meshes.check_batch_size(8, mesh, microbatches=2)
    with pytest.raises(AudioSepError, match=r"batch_size 6 cannot be split over 4 devices: .* multiple of 4"):
        meshes.check_batch_size(6, mesh)
    with pytest.raises(AudioSepError, match=r"12 cannot be split over 4 devices in 2 microbatches: .* of 8"):
        meshes.check_batch_size(12, mesh, microbatches=2)
