"""Small separators of several shapes with drawn weights and statistics, and their checkpoint folders."""

import jax
import numpy as np

from audiosep_jax.checkpoints import folder
from audiosep_jax.config import ExperimentConfig, ModelConfig
from audiosep_jax.models import separator

BASE = {
    "sample_rate_hz": 8000,
    "window_length": 64,
    "hop_length": 20,
    "encoder_widths": (2, 3),
    "condition_size": 5,
}
MODELS = {
    "scale_shift": {**BASE, "film": "scale_shift", "magnitude_power": 0.5, "unused_tensors": False},
    "deep": {**BASE, "encoder_widths": (2, 3, 2), "bottleneck_blocks": 2, "hop_length": 32},
    "wide_hop": {**BASE, "window_length": 128, "hop_length": 37, "condition_size": 1},
}


def drawn(config, seed=0):
    """Variables with statistics, signs and biases unlike those of a fresh model."""
    draw = np.random.default_rng(seed)

    def values(path, leaf):
        if path[-1].key == "var":
            return draw.uniform(0.2, 3, leaf.shape).astype(np.float32)
        if path[-1].key == "scale":
            return draw.uniform(-1.5, 1.5, leaf.shape).astype(np.float32)
        spread = 1 / np.sqrt(np.prod(leaf.shape[:-1])) if leaf.ndim > 1 else 0.4
        return (draw.normal(size=leaf.shape) * spread).astype(np.float32)

    return jax.tree_util.tree_map_with_path(values, separator.shapes(config))


def save(place, *, seed=0, **model):
    config = ExperimentConfig(name="small", model=ModelConfig(**model))
    folder.save(place, config, drawn(config.model, seed))
    return place


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32) / 3
