"""The golden records, with the models and inputs that they belong to."""

import functools
import json
from pathlib import Path

import numpy as np
from golden_inputs import SEED, reference_tensor, unit_condition, waveform

from audiosep_jax.checkpoints.pytorch_names import from_pytorch
from audiosep_jax.config import ModelConfig

FOLDER = Path(__file__).parents[1] / "data" / "golden"
CONFIGS = {
    "base": ModelConfig(),
    "window1024": ModelConfig(window_length=1024),
    "dcase": ModelConfig(sample_rate_hz=16_000, window_length=1024, hop_length=160),
}


@functools.cache
def keys() -> dict[str, dict[str, list[int]]]:
    """Names and shapes of the reference's state dict, per config."""
    return json.loads((FOLDER / "resunet30.keys.json").read_text("utf-8"))


@functools.cache
def record():
    return np.load(FOLDER / "resunet30.npz")


def variables(name):
    """The seeded weights of one config, as our tree."""
    state_dict = {key: reference_tensor(key, tuple(shape)) for key, shape in keys()[name].items()}
    return from_pytorch(CONFIGS[name], state_dict)


def mixtures() -> np.ndarray:
    return np.stack([waveform(32_123, SEED), waveform(32_123, SEED + 1)])


def conditions() -> np.ndarray:
    return unit_condition(2, SEED)
