"""Prepares a run before its first step: data, conditions, the state, and the compiled step."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, cast

import jax
import numpy as np
import optax
from jax.sharding import Mesh

from audiosep_jax.checkpoints import folder
from audiosep_jax.config import ExperimentConfig
from audiosep_jax.encoders.base import load_encoder
from audiosep_jax.encoders.cache import ConditionCache
from audiosep_jax.errors import ConfigError
from audiosep_jax.models import separator
from audiosep_jax.train import mesh as meshes
from audiosep_jax.train import state as states
from audiosep_jax.train.optimizer import make_optimizer
from audiosep_jax.train.state import TrainState
from audiosep_jax.train.step import Batch, StepMetrics, batch_like, make_train_step
from audiosep_jax.train.supervision import make_supervision
from audiosep_jax.train.validation import Validation
from audiosep_jax.train.workdir import Workdir
from data_pipelines.mixtures import clip_index
from data_pipelines.mixtures.pipeline import MixturePipeline

CompiledStep = Callable[[TrainState, Batch], tuple[TrainState, StepMetrics]]

LoadStep = Callable[[ExperimentConfig, Mesh], CompiledStep]
"""Returns the step of a run; called inside `jax.set_mesh(mesh)`."""


def open_data(
    config: ExperimentConfig, workdir: Workdir, mesh: Mesh
) -> tuple[MixturePipeline, Validation | None]:
    """Opens the data of a run, with the conditions of its captions, and the validation if it has clips.

    Raises:
      AudioSepError: the data or the query encoder cannot be used, or does not fit the model.
    """
    encoder = load_encoder(config.query)
    if encoder.condition_size != config.model.condition_size:
        raise ConfigError(
            f"query.encoder {config.query.encoder!r} gives {encoder.condition_size} numbers per caption, the "
            f"model takes {config.model.condition_size}: set model.condition_size={encoder.condition_size}."
        )
    entries = (*config.data.datasets, *(config.data.validation or ()))
    prepared = dict.fromkeys(clip_index.folder_of(entry)[0] for entry in entries)
    conditions = ConditionCache(encoder, folder=workdir.local, beside=list(prepared)).conditions
    supervision = make_supervision(config, encoder, folder=workdir.local)
    pipeline = MixturePipeline(
        config.data,
        config.mixture,
        sample_rate_hz=config.model.sample_rate_hz,
        batch_size=config.train.batch_size,
        conditions=conditions,
        supervision=supervision,
        augment=config.augment,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        microbatches=config.execution.microbatches,
    )
    validation = Validation(config, mesh, conditions, supervision) if config.data.validation else None
    return pipeline, validation


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


def compiled_step(config: ExperimentConfig, mesh: Mesh) -> CompiledStep:
    """Compiles the train step before the first batch; call it inside `jax.set_mesh(mesh)`."""
    optimizer = make_optimizer(config.optimizer, config.train.steps)
    step = make_train_step(config, optimizer, mesh)
    lowered = step.lower(state_like(config, optimizer, mesh), batch_like(config, mesh))
    return cast(CompiledStep, lowered.compile())


def replicate(mesh: Mesh, variables: separator.Variables) -> separator.Variables:
    """Returns variables with a copy on every device; all processes call it at the same step."""
    if all(leaf.is_fully_replicated for leaf in jax.tree.leaves(variables)):
        return variables
    return jax.jit(_same, out_shardings=meshes.replicated(mesh))(variables)


def _same(tree: Any) -> Any:
    return tree
