"""One process of a small training: real pipeline, real step; writes its examples and results.

A program of its own, because processes and devices are fixed when JAX starts. Its one argument is JSON:
coordinator, index, count, dataset, out, and cases by name, each with mesh, microbatches and steps.
"""

import dataclasses
import json
import sys
from pathlib import Path

import jax
import numpy as np
import training_runs
from jax.experimental import multihost_utils

from audiosep_jax.config import ExecutionConfig, MeshConfig
from audiosep_jax.train import distributed
from audiosep_jax.train import mesh as meshes
from audiosep_jax.train import state as states
from audiosep_jax.train.distributed import DistributedOptions
from audiosep_jax.train.optimizer import make_optimizer
from audiosep_jax.train.step import make_train_step
from data_pipelines.mixtures.pipeline import MixturePipeline

BATCH = 16
RATE, EPSILON = 1e-3, 1e-2


def experiment(case, dataset):
    config = training_runs.experiment(dataset, batch_size=BATCH, steps=case["steps"], ema_decay=0.9)
    # With such an epsilon a step moves a parameter by a tenth of its gradient at most. With the usual one it
    # moves by the whole rate where the true gradient is zero, as that of a bias before a normalization: in
    # the direction of the rounding.
    optimizer = dataclasses.replace(config.optimizer, learning_rate=RATE, epsilon=EPSILON, warmup_steps=0)
    return dataclasses.replace(
        config,
        optimizer=optimizer,
        mesh=MeshConfig(**case["mesh"]),
        execution=ExecutionConfig(microbatches=case["microbatches"]),
    )


def train(config):
    """Returns the last state, what every step read, and its loss."""
    mesh, parts = meshes.make_mesh(config.mesh), config.execution.microbatches
    meshes.check_batch_size(BATCH, mesh, microbatches=parts)
    optimizer = make_optimizer(config.optimizer, config.train.steps)
    pipeline = MixturePipeline(
        config.data,
        config.mixture,
        sample_rate_hz=config.model.sample_rate_hz,
        batch_size=BATCH,
        conditions=training_runs.LetterEncoder().encode,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        microbatches=parts,
    )
    state = states.create(config.model, optimizer, jax.random.key(0), average=True)
    state = meshes.put_state(mesh, state)
    step, seen = make_train_step(config, optimizer, mesh), []
    with jax.set_mesh(mesh):
        for batch in pipeline.batches(stop_step=config.train.steps):
            with jax.transfer_guard("disallow"):
                state, metrics = step(state, meshes.put_batch(mesh, batch.arrays, microbatches=parts))
            sums = batch.segments.astype(np.float64).sum(axis=-1).tolist()
            seen.append({"ids": batch.ids, "sums": sums, "gains": batch.gains_db.tolist()})
            seen[-1]["loss"] = float(jax.device_get(metrics.loss))
    return state, seen


def whole(state):
    """The state's arrays by name, each gathered from all processes."""
    return {
        jax.tree_util.keystr(path): np.asarray(
            multihost_utils.process_allgather(leaf, tiled=True) if jax.process_count() > 1 else leaf
        )
        for path, leaf in jax.tree_util.tree_leaves_with_path(state)
    }


def main():
    task = json.loads(sys.argv[1])
    distributed.initialize(
        DistributedOptions(
            coordinator=task["coordinator"], process_index=task["index"], process_count=task["count"]
        )
        if task["count"] > 1
        else DistributedOptions()
    )
    index = jax.process_index()
    report = {
        "devices": [jax.local_device_count(), jax.device_count()],
        "lead": distributed.is_lead(),
    }
    out = Path(task["out"])
    for name, case in task["cases"].items():
        state, report[name] = train(experiment(case, task["dataset"]))
        if case["mesh"].get("fsdp", 1) > 1:
            shares = {
                leaf.size / leaf.addressable_shards[0].data.size for leaf in jax.tree.leaves(state.params)
            }
            report[f"{name} shares"] = sorted(shares)
        arrays = whole(state)
        if distributed.is_lead():
            np.savez(out / f"{name}.npz", **arrays)
    (out / f"process{index}.json").write_text(json.dumps(report), "utf-8")


if __name__ == "__main__":
    main()
