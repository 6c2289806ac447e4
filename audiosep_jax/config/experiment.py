"""The config of a whole experiment."""

import dataclasses

from audiosep_jax.config.augment import AugmentConfig
from audiosep_jax.config.data import DataConfig, MixtureConfig
from audiosep_jax.config.model import ModelConfig, QueryConfig
from audiosep_jax.config.training import ExecutionConfig, MeshConfig, OptimizerConfig, TrainConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExperimentConfig:
    """The config of a whole experiment."""

    name: str = "experiment"
    model: ModelConfig = ModelConfig()
    query: QueryConfig = QueryConfig()
    mixture: MixtureConfig = MixtureConfig()
    augment: AugmentConfig = AugmentConfig()
    data: DataConfig = DataConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    mesh: MeshConfig = MeshConfig()
    execution: ExecutionConfig = ExecutionConfig()
    train: TrainConfig = TrainConfig()
