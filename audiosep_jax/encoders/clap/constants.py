"""The constants in CLAP checkpoints, which we compute ourselves and compare."""

from collections.abc import Iterator, Mapping

import ml_dtypes
import numpy as np
from jaxtyping import Float

from audiosep_jax.encoders.clap.config import ClapConfig
from audiosep_jax.encoders.clap.htsat import (
    effective_window,
    relative_position_index,
    shift_mask,
    shift_of_block,
)

_STFT = "audio_branch.spectrogram_extractor.stft.conv_"


def different(config: ClapConfig, tensors: Mapping[str, np.ndarray]) -> list[str]:
    """Returns the names of the attention masks, index tables and STFT kernels that differ from ours.

    They differ by more than the rounding of their own types. The tower computes its own constants; a file
    with others belongs to a model with other embeddings. Missing constants are not compared.
    """
    return [name for name, value in constants(config) if name in tensors and _differs(tensors[name], value)]


def stft_kernels(
    length: int,
) -> tuple[Float[np.ndarray, "bins 1 length"], Float[np.ndarray, "bins 1 length"]]:
    """Returns the real and imaginary kernels of torchlibrosa's STFT with a periodic Hann window."""
    time = np.arange(length)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * time / length)
    # First modulo the period, because cosines of large angles are inexact.
    angle = 2 * np.pi * (np.arange(length // 2 + 1)[:, None, None] * time[None, None] % length) / length
    return window[None, None] * np.cos(angle), -window[None, None] * np.sin(angle)


def constants(config: ClapConfig) -> Iterator[tuple[str, np.ndarray]]:
    """Yields name and value of every constant in files of the config's layout."""
    audio = config.audio
    laion = config.layout == "laion"
    for stage, depth in enumerate(audio.depths):
        resolution = audio.resolution(stage)
        window = effective_window(resolution, audio.window_size)
        index = relative_position_index(window)
        for block in range(depth):
            if not laion:
                prefix = f"audio_model.audio_encoder.layers.{stage}.blocks.{block}"
                yield f"{prefix}.attention.self.relative_position_index", index
                continue
            prefix = f"audio_branch.layers.{stage}.blocks.{block}"
            yield f"{prefix}.attn.relative_position_index", index
            shift = shift_of_block(block, resolution, audio.window_size)
            if shift:
                height, width = (-(-side // window) * window for side in resolution)
                yield f"{prefix}.attn_mask", shift_mask((height, width), window=window, shift=shift)
    if laion:
        yield from zip(
            (f"{_STFT}real.weight", f"{_STFT}imag.weight"),
            stft_kernels(config.log_mel.window_length),
            strict=True,
        )


def _differs(stored: np.ndarray, computed: np.ndarray) -> bool:
    if stored.shape != computed.shape or stored.dtype.kind == "c":
        return True
    rounding = 0.0 if stored.dtype.kind in "iub" else float(ml_dtypes.finfo(stored.dtype).eps)
    return not np.allclose(stored.astype(np.float64), computed, rtol=rounding, atol=1e-5)
