"""Small separators of several shapes with drawn weights and statistics, and their checkpoint folders."""

from drawn_models import drawn

from audiosep_jax.checkpoints import folder
from audiosep_jax.config import ExperimentConfig, ModelConfig

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
    "patches": {**BASE, "window_length": 128, "patch_bins": 4, "film": "scale_shift"},
    "wide_hop": {**BASE, "window_length": 128, "hop_length": 37, "condition_size": 1},
}


def save(place, *, seed=0, **model):
    config = ExperimentConfig(name="small", model=ModelConfig(**model))
    folder.save(place, config, drawn(config.model, seed))
    return place
