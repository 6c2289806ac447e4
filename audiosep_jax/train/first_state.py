"""The state of a run before its first step, and the shapes into which a checkpoint is restored."""

import dataclasses
import functools
from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import Mesh

from audiosep_jax.checkpoints import folder
from audiosep_jax.config import ExperimentConfig
from audiosep_jax.errors import ConfigError
from audiosep_jax.models import separator
from audiosep_jax.train import mesh as meshes
from audiosep_jax.train import state as states
from audiosep_jax.train.state import TrainState


def first_state(config: ExperimentConfig, optimizer: optax.GradientTransformation, mesh: Mesh) -> TrainState:
    """Returns the state before step 0 with its final sharding; during the draw every device holds all of it.

    Raises:
      AudioSepError: `train.init_from` is no model, or one of another shape.
    """
    create = functools.partial(states.create, config.model, optimizer, average=config.train.ema_decay > 0)
    placed = meshes.state_sharding(mesh, states.shapes(config, optimizer))
    if not config.train.init_from:
        # With a split output, XLA would split the single random draw of all kernels across devices.
        make = jax.jit(
            lambda: create(jax.random.key(config.train.seed)), out_shardings=meshes.replicated(mesh)
        )
        state = make()
        split = not all(place.is_fully_replicated for place in jax.tree.leaves(placed))
        return jax.jit(_same, out_shardings=placed)(state) if split else state
    start = folder.load(config.train.init_from)
    if separator.flat_shapes(start.config.model) != separator.flat_shapes(config.model):
        raise ConfigError(
            f"train.init_from: the model in {config.train.init_from} has other tensors than this "
            "experiment's model: copy its model config, or remove train.init_from."
        )
    variables = meshes.put_state(mesh, start.variables)
    make = jax.jit(lambda given: create(jax.random.key(0), variables=given), out_shardings=placed)
    return make(variables)


def state_like(config: ExperimentConfig, optimizer: optax.GradientTransformation, mesh: Mesh) -> TrainState:
    """Returns a state of `jax.ShapeDtypeStruct`s with shardings, into which a checkpoint is restored."""
    shapes = states.shapes(config, optimizer)
    like = jax.tree.map(
        lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place),
        shapes,
        meshes.state_sharding(mesh, shapes),
    )
    # Older checkpoints lack this count; it stays 0 then.
    return dataclasses.replace(like, skipped=meshes.put_state(mesh, np.int32(0)))


def replicate(mesh: Mesh, variables: separator.Variables) -> separator.Variables:
    """Returns variables with a copy on every device; all processes call it at the same step."""
    if all(leaf.is_fully_replicated for leaf in jax.tree.leaves(variables)):
        return variables
    return jax.jit(_same, out_shardings=meshes.replicated(mesh))(variables)


def _same(tree: Any) -> Any:
    return tree
