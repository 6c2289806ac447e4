"""The config of an experiment: frozen dataclasses, loaded from Python files and overridden by `--set`."""

from audiosep_jax.config.augment import AugmentConfig
from audiosep_jax.config.data import MAX_RATIO_DB, DataConfig, MixtureConfig
from audiosep_jax.config.experiment import ExperimentConfig
from audiosep_jax.config.model import FilmKind, ModelConfig, QueryConfig
from audiosep_jax.config.training import (
    ComputeKind,
    ExecutionConfig,
    LossKind,
    MeshConfig,
    NonFinitePolicy,
    OptimizerConfig,
    OptimizerKind,
    RematPolicy,
    TrainConfig,
)

__all__ = [
    "MAX_RATIO_DB",
    "AugmentConfig",
    "ComputeKind",
    "DataConfig",
    "ExecutionConfig",
    "ExperimentConfig",
    "FilmKind",
    "LossKind",
    "MeshConfig",
    "MixtureConfig",
    "ModelConfig",
    "NonFinitePolicy",
    "OptimizerConfig",
    "OptimizerKind",
    "QueryConfig",
    "RematPolicy",
    "TrainConfig",
]
