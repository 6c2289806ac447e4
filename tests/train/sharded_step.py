"""Compiles and runs the real train step over four virtual devices; prints what it found as JSON.

A program of its own, because the number of devices is fixed when JAX starts: XLA_FLAGS must hold
--xla_force_host_platform_device_count=4.
"""

import json
import re

import jax
import numpy as np
import training_runs

from audiosep_jax.audio import stft
from audiosep_jax.train import mesh as meshes
from audiosep_jax.train import state as states
from audiosep_jax.train.optimizer import make_optimizer
from audiosep_jax.train.step import make_train_step

SAMPLES = 1000
BATCH = 8


def batch():
    draw = np.random.default_rng(0)
    return {
        "segments": np.float32(draw.standard_normal((BATCH, 2, SAMPLES)) / 4),
        "gains_db": np.int32(draw.integers(-3, 4, (BATCH, 2))),
        "level_db": np.float32(draw.uniform(-3, 3, BATCH)),
        "absent": np.arange(BATCH) == 2,
        "condition": np.float32(draw.standard_normal((BATCH, len(training_runs.LETTERS)))),
    }


def gathered(text):
    """Elements of the largest result of an all-gather in a compiled program."""
    shapes = re.findall(r"\[([\d,]*)\][^=\n]* all-gather(?:-start)?\(", text)
    return max((int(np.prod([int(n) for n in shape.split(",") if n])) for shape in shapes), default=0)


def compiled_and_run(mesh, *, run=True):
    config = training_runs.experiment("none")
    optimizer = make_optimizer(config.optimizer, 10)
    state = states.create(config.model, optimizer, jax.random.key(0))
    state = jax.device_put(state, meshes.replicated(mesh))
    with jax.set_mesh(mesh):
        arrays = jax.device_put(batch(), meshes.batch_sharding(mesh))
        program = make_train_step(config, optimizer, mesh).lower(state, arrays).compile()
        text = program.as_text()
        if not run:
            return text, None, None
        state, metrics = program(state, arrays)
    found = {
        "gradient": state.opt_state[0].mu,
        "statistics": state.batch_stats,
        "loss": metrics.loss,
        "gradient_norm": metrics.gradient_norm,
    }
    everywhere = all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(state))
    return text, jax.tree.map(np.asarray, found), everywhere


def main():
    one = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:1])
    four = meshes.make_mesh()
    _, alone, _ = compiled_and_run(one)
    text, together, everywhere = compiled_and_run(four)

    def difference(a, b):
        return float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-3))

    differences = jax.tree.map(difference, alone, together)
    stft._per_device = lambda transform, batch: transform
    naked, _, _ = compiled_and_run(four, run=False)
    report = {
        "devices": four.size,
        "gathered": gathered(text),
        "all_gathers": text.count(" all-gather("),
        "all_reduces": len(re.findall(r" all-reduce(?:-start)?\(", text)),
        "gathered_without_shard_map": gathered(naked),
        "replicated": everywhere,
        "differences": {name: max(jax.tree.leaves(part)) for name, part in differences.items()},
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
