"""Experiment files for commands in separate processes."""

from pathlib import Path

from audiosep_jax.config import ExperimentConfig
from audiosep_jax.utils.serialization import to_dict


def write_experiment(path: Path, config: ExperimentConfig) -> Path:
    """Writes a file whose `CONFIG` is this config, and returns its path."""
    path.write_text(
        "from audiosep_jax.config import ExperimentConfig\n"
        "from audiosep_jax.utils.serialization import from_dict\n"
        f"CONFIG = from_dict(ExperimentConfig, {to_dict(config)!r})\n",
        "utf-8",
    )
    return path
