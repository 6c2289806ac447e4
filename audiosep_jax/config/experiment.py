"""All parts of an experiment together."""

import dataclasses

from audiosep_jax.config.data import DataConfig, MixtureConfig
from audiosep_jax.config.model import ModelConfig, QueryConfig
from audiosep_jax.config.training import ExecutionConfig, MeshConfig, OptimizerConfig, TrainConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExperimentConfig:
    """The whole of an experiment."""

    name: str = "experiment"
    model: ModelConfig = ModelConfig()
    query: QueryConfig = QueryConfig()
    mixture: MixtureConfig = MixtureConfig()
    data: DataConfig = DataConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    mesh: MeshConfig = MeshConfig()
    execution: ExecutionConfig = ExecutionConfig()
    train: TrainConfig = TrainConfig()
