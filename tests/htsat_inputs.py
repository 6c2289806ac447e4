"""Seeded towers and inputs of the records in `tests/data/htsat_records.*`, as `HtsatConfig` names them."""

import numpy as np
from golden_inputs import SEED, reference_tensor

_COMMON = {
    "patch_size": 4,
    "patch_stride": (4, 4),
    "patch_norm": True,
    "mlp_ratio": 4.0,
    "qkv_bias": True,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-5,
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
