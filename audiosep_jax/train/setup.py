"""Prepares a run before its first step: data, conditions, and the compiled step."""

from collections.abc import Callable
from typing import cast

import jax
from jax.sharding import Mesh

from audiosep_jax.config import ExperimentConfig
from audiosep_jax.encoders.base import load_encoder
from audiosep_jax.encoders.cache import ConditionCache
from audiosep_jax.errors import ConfigError
from audiosep_jax.train.first_state import state_like
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


def compiled_step(config: ExperimentConfig, mesh: Mesh) -> CompiledStep:
    """Compiles the train step before the first batch; call it inside `jax.set_mesh(mesh)`."""
    optimizer = make_optimizer(config.optimizer, config.train.steps)
    step = make_train_step(config, optimizer, mesh)
    lowered = step.lower(state_like(config, optimizer, mesh), batch_like(config, mesh))
    return cast(CompiledStep, lowered.compile())
