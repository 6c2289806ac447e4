"""Seeded towers and inputs of the records in `tests/data/htsat_records.*`, as `HtsatConfig` names them."""

import json
from pathlib import Path

import numpy as np
from golden_inputs import SEED, reference_tensor

RECORD = Path(__file__).parents[1] / "data" / "htsat_records.json"
_COMMON = {
    "patch_size": 4,
    "patch_stride": (4, 4),
    "patch_norm": True,
    "mlp_ratio": 4.0,
    "qkv_bias": True,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-5,
}
_NAMES_OF_LAION = {
    "audio_model.audio_encoder.": "audio_branch.",
    "batch_norm": "bn0",
    "attention.self.relative": "attn.relative",
    "attention.output.dense": "attn.proj",
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
}
# Name -> (config, frames of the spectrograms).
CASES = {
    # Odd numbers of blocks; the second stage is one window, the third smaller than it; fewer frames than fit.
    "small_stages": (
        _COMMON
        | {
            "embed_dim": 8,
            "depths": (3, 1, 2),
            "heads": (1, 4, 2),
            "spec_size": 64,
            "mel_bins": 16,
            "window_size": 8,
            "qkv_bias": False,
            "hidden_act": "relu",
        },
        249,
    ),
    # One stage, whose image the windows do not tile; very few frames; no norm of the patches.
    "padded_windows": (
        _COMMON
        | {
            "embed_dim": 12,
            "depths": (4,),
            "heads": (3,),
            "spec_size": 96,
            "mel_bins": 32,
            "window_size": 5,
            "patch_norm": False,
            "mlp_ratio": 1.5,
            "layer_norm_eps": 1e-3,
        },
        5,
    ),
    # Overlapping patches, an oblong image; one piece of as many frames as fit, whose mel bins are stretched.
    "oblong": (
        _COMMON
        | {
            "embed_dim": 6,
            "depths": (2, 2),
            "heads": (2, 3),
            "spec_size": 64,
            "mel_bins": 48,
            "patch_size": 8,
            "patch_stride": (4, 8),
            "window_size": 3,
            "hidden_act": "silu",
        },
        64,
    ),
}


def tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The weight of that name; the position biases are large enough to matter."""
    scale = 50 if name.endswith("relative_position_bias_table") else 1
    return reference_tensor(name, shape) * np.float32(scale)


def spectrograms(frames: int, mel_bins: int) -> np.ndarray:
    """Two spectrograms, as steep as in dB."""
    draw = np.random.default_rng([SEED, frames, mel_bins]).standard_normal((2, frames, mel_bins))
    return (10 * draw - 20).astype(np.float32)


def case(name):
    """The config, the tensors by transformers' names, and the spectrograms of a record."""
    # Not above: the records are made where the project is not installed.
    from audiosep_jax.encoders.clap.config import HtsatConfig

    values, frames = CASES[name]
    shapes = json.loads(RECORD.read_text("utf-8"))[name]
    tensors = {
        key: np.zeros(shape, np.int64) if key.endswith(("_index", "_tracked")) else tensor(key, tuple(shape))
        for key, shape in shapes.items()
    }
    return HtsatConfig(**values), tensors, spectrograms(frames, values["mel_bins"])


def as_laion(config, tensors):
    """The same tower by LAION's names, with the constants that LAION's files hold."""
    laion = {}
    for name, value in tensors.items():
        if ".attention.self.query." in name:
            parts = [tensors[name.replace("query", part)] for part in ("query", "key", "value")]
            name, value = name.replace("attention.self.query", "attn.qkv"), np.concatenate(parts)
        elif ".attention.self." in name and "relative" not in name:
            continue
        for theirs, laions in _NAMES_OF_LAION.items():
            name = name.replace(theirs, laions)
        laion[name] = value
    for stage, depth in enumerate(config.depths):
        height, width = config.resolution(stage)
        window = config.window_size
        for block in range(1, depth, 2):
            if min(height, width) > window:
                windows = (height // window) * (width // window)
                mask = np.zeros((windows, window**2, window**2), np.float32)
                laion[f"audio_branch.layers.{stage}.blocks.{block}.attn_mask"] = mask
    laion["audio_branch.tscam_conv.weight"] = np.zeros((7, config.latent_size, 1, 3), np.float32)
    laion["audio_branch.logmel_extractor.melW"] = np.zeros((9, config.mel_bins), np.float32)
    laion["text_branch.somebody.elses"] = np.zeros(3, np.float32)
    return laion
