"""Variables and inputs of small separators, unlike those of a fresh model, and two small models."""

import jax
import numpy as np

from audiosep_jax.models import separator

SHIFT = {"window_length": 64, "hop_length": 20, "encoder_widths": (3, 4), "condition_size": 5}
MODELS = {
    "shift": {**SHIFT, "magnitude_power": 0.3},
    "patches": {**SHIFT, "patch_bins": 4},
    "scale_shift": {**SHIFT, "film": "scale_shift", "unused_tensors": False},
}


def drawn(config, seed=0):
    """Variables with other statistics, signs and biases than a fresh model's."""
    draw = np.random.default_rng(seed)

    def values(path, leaf):
        if path[-1].key == "var":
            return draw.uniform(0.2, 3, leaf.shape).astype(np.float32)
        if path[-1].key == "scale":
            return draw.uniform(-1.5, 1.5, leaf.shape).astype(np.float32)
        spread = 1 / np.sqrt(np.prod(leaf.shape[:-1])) if leaf.ndim > 1 else 0.4
        return (draw.normal(size=leaf.shape) * spread).astype(np.float32)

    return jax.tree_util.tree_map_with_path(values, separator.shapes(config))


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32) / 3
