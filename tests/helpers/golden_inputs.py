"""Seeded inputs and weights of the golden records in `tests/data/golden`.

The records hold what the reference PyTorch implementation of AudioSep (github.com/Audio-AGI/AudioSep, MIT
licence) computed for these signals and weights; nothing but the numbers is stored, everything that went in
is drawn here by name.
"""

import math
import zlib

import numpy as np

SEED = 20231
SAMPLE_RATE = 32_000


def reference_tensor(name: str, shape: tuple[int, ...], seed: int = SEED) -> np.ndarray:
    """Returns the float32 tensor that the reference state dict held under ``name``.

    ``name`` is the key inside the separator (``base.…``, ``film.…``) or inside CLAP
    (``text_branch.…``, ``audio_branch.…``): any checkpoint prefix is stripped first.
    Keys that are constants (STFT kernels, mel matrix, attention masks, index tables,
    ``num_batches_tracked``, ``position_ids``, 0-d scalars) keep their own values.
    """
    draw = np.random.default_rng([seed, zlib.crc32(name.encode())]).standard_normal(shape, dtype=np.float32)
    leaf = name.rsplit(".", 1)[-1]
    if leaf == "running_mean":
        return np.float32(0.1) * draw
    if leaf == "running_var":
        return np.exp(np.float32(0.2) * draw)
    if leaf == "bias":
        return np.float32(0.1) * draw
    if len(shape) == 1:
        return 1 + np.float32(0.1) * draw
    if "after_conv" in name:
        return np.float32(0.004) * draw
    if "embeddings." in name or leaf == "relative_position_bias_table":
        return np.float32(0.02) * draw
    gain = 2.0 if len(shape) == 4 else 1.0
    return draw * np.float32(math.sqrt(gain / math.prod(shape[1:])))


def waveform(samples: int, seed: int) -> np.ndarray:
    """Returns ``[samples]`` float32: a chirp, a decaying tone and a little noise at 32 kHz."""
    rng = np.random.default_rng([seed, 7])
    t = np.arange(samples) / SAMPLE_RATE
    chirp = 0.3 * np.sin(2 * np.pi * (200 * t + 300 * t * t))
    tone = 0.2 * np.sin(2 * np.pi * 1234.5 * t) * np.exp(-3 * t)
    return (chirp + tone + 0.05 * rng.standard_normal(samples)).astype(np.float32)


def unit_condition(batch: int, seed: int, size: int = 512) -> np.ndarray:
    """Returns ``[batch, size]`` float32 rows of unit length."""
    rows = np.random.default_rng([seed, 11]).standard_normal((batch, size)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)
