"""Compiles and runs the real train step over eight virtual devices; prints what it found as JSON.

A program of its own, because the number of devices is fixed when JAX starts: XLA_FLAGS must hold
--xla_force_host_platform_device_count=8. Its arguments are names of `CASES`.
"""

import dataclasses
import json
import re
import sys

import jax
import numpy as np
import training_runs

from audiosep_jax.aot.hlo import KINDS
from audiosep_jax.audio import stft
from audiosep_jax.config import ExecutionConfig, MeshConfig
from audiosep_jax.train import mesh as meshes
from audiosep_jax.train import state as states
from audiosep_jax.train.optimizer import make_optimizer
from audiosep_jax.train.step import make_train_step

SAMPLES = 1000
BATCH = 16
# Devices, their arrangement, microbatches.
CASES = {
    "alone": (1, MeshConfig(), 1),
    "data": (8, MeshConfig(), 1),
    "without shard_map": (8, MeshConfig(), 1),
    "gathered": (8, MeshConfig(), 1),
    "fsdp": (8, MeshConfig(replica=2, data=2, fsdp=2), 1),
    "all fsdp": (8, MeshConfig(data=1, fsdp=8), 1),
    "alone in parts": (1, MeshConfig(), 2),
    "in parts": (8, MeshConfig(replica=1, data=8, fsdp=1), 2),
    "fsdp in parts": (8, MeshConfig(data=-1, fsdp=4), 2),
}


def gathered(transform, batch):
    """The transform of arrays that every device has been given whole."""
    return lambda *arrays: transform(
        *(jax.lax.with_sharding_constraint(array, jax.sharding.PartitionSpec()) for array in arrays)
    )


# What stands in the place of the shard_map around transforms, to see what it prevents.
WITHOUT_SHARD_MAP = {"without shard_map": lambda transform, batch: transform, "gathered": gathered}


def batch(size=BATCH):
    draw = np.random.default_rng(0)
    return {
        "segments": np.float32(draw.standard_normal((size, 2, SAMPLES)) / 4),
        "gains_db": np.int32(draw.integers(-3, 4, (size, 2))),
        "level_db": np.float32(draw.uniform(-3, 3, size)),
        "absent": np.arange(size) == 2,
        "condition": np.float32(draw.standard_normal((size, len(training_runs.LETTERS)))),
    }


def moved(text):
    """Elements of every array that a compiled program moves between devices, by kind of collective."""
    found = {}
    for shapes, kind in re.findall(rf" = (.*?) ({'|'.join(KINDS)})(?:-start)?\(", text):
        sizes = [np.prod([int(n) for n in s.split(",") if n]) for s in re.findall(r"\w\[([\d,]*)\]", shapes)]
        found.setdefault(kind, []).extend(int(size) for size in sizes)
    return found


def case(name):
    devices, mesh_config, parts = CASES[name]
    config = training_runs.experiment("none")
    config = dataclasses.replace(config, mesh=mesh_config, execution=ExecutionConfig(microbatches=parts))
    optimizer = make_optimizer(config.optimizer, 10)
    mesh = meshes.make_mesh(config.mesh, jax.devices()[:devices])
    state = meshes.put_state(mesh, states.create(config.model, optimizer, jax.random.key(0)))
    if name in WITHOUT_SHARD_MAP:
        stft._per_device = WITHOUT_SHARD_MAP[name]
    with jax.set_mesh(mesh):
        arrays = meshes.put_batch(mesh, batch(), microbatches=parts)
        program = make_train_step(config, optimizer, mesh).lower(state, arrays).compile()
        report = {"devices": mesh.size, "moved": moved(program.as_text())}
        if name in WITHOUT_SHARD_MAP:
            return report, None
        placed = jax.tree.map(lambda leaf: leaf.sharding, state)
        state, metrics = program(state, arrays)
    report["stays"] = jax.tree.leaves(placed) == [leaf.sharding for leaf in jax.tree.leaves(state)]
    report["split"] = sum(not leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(state))
    report["tensors"] = [leaf.size for leaf in jax.tree.leaves(state.params)]
    report["statistics"] = [leaf.size for leaf in jax.tree.leaves(state.batch_stats)]
    found = {
        "gradient": state.opt_state[0].mu,
        "parameters": state.params,
        "statistics": state.batch_stats,
        "loss": metrics.loss,
        "gradient_norm": metrics.gradient_norm,
    }
    return report, jax.tree.map(np.asarray, found)


def differences(one, other):
    """The largest difference of each part, relative to the largest number of its tensor."""

    def difference(a, b):
        return float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-3))

    return {
        name: max(jax.tree.leaves(jax.tree.map(difference, part, other[name]))) for name, part in one.items()
    }


def main():
    reports, alone = {}, {}
    for name in sys.argv[1:]:
        reports[name], found = case(name)
        parts = CASES[name][2]
        if found is not None:
            reports[name]["differences"] = differences(alone.setdefault(parts, found), found)
    print(json.dumps(reports))


if __name__ == "__main__":
    main()
