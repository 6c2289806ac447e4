"""STFT and its inverse as ONNX convolutions with constant kernels.

Many runtimes lack ONNX's own operators for Fourier transforms, and before opset 20 none of these inverts a
one-sided spectrum; every runtime has a fast convolution. The frames are `[batch, 2·bins, frames]`: real
parts, then imaginary parts.
"""

import numpy as np

from audiosep_jax.config import ModelConfig
from audiosep_jax.export.functions import frames
from audiosep_jax.export.onnx_graph import Graph
from audiosep_jax.models.masking import padded_samples

_SMALLEST_WINDOW_SUM = 1e-11  # as in audio/stft.py


def forward(graph: Graph, config: ModelConfig, waveform: str, *, samples: int) -> tuple[str, str]:
    """Returns real and imaginary part, `[batch, frames, bins]` each, of a waveform `[batch, samples]`."""
    half, bins = config.window_length // 2, config.window_length // 2 + 1
    padded = graph.pad(waveform, (0, 0), (0, padded_samples(config, samples) - samples))
    padded = graph.pad(padded, (0, half), (0, half), mode="reflect")
    cosine, sine = _waves(config.window_length)
    kernel = np.concatenate([cosine, -sine]) * _hann(config.window_length)
    spectrum = graph.add(
        "Conv",
        graph.unsqueeze(padded, 1),
        graph.constant(kernel[:, None], "stft"),
        kernel_shape=(config.window_length,),
        strides=(config.hop_length,),
    )
    spectrum = graph.add("Transpose", spectrum, perm=(0, 2, 1))
    return graph.slice(spectrum, 0, bins, axis=2), graph.slice(spectrum, bins, 2 * bins, axis=2)


def inverse(graph: Graph, config: ModelConfig, real: str, imag: str, *, samples: int) -> str:
    """Returns the waveform `[batch, samples]` of real and imaginary part, `[batch, frames, bins]` each."""
    window, hop = _hann(config.window_length), config.hop_length
    cosine, sine = _waves(config.window_length)
    # All bins except the first and the last also stand for their mirror images.
    weight = np.full((len(cosine), 1), 2 / config.window_length)
    weight[[0, -1]] /= 2
    kernel = np.concatenate([weight * cosine, -weight * sine]) * window
    spectrum = graph.add("Transpose", graph.add("Concat", real, imag, axis=2), perm=(0, 2, 1))
    waveform = graph.add(
        "ConvTranspose",
        spectrum,
        graph.constant(kernel[:, None], "istft"),
        kernel_shape=(config.window_length,),
        strides=(hop,),
    )
    total = np.zeros((frames(config, samples) - 1) * hop + config.window_length)
    for start in range(0, len(total) - config.window_length + 1, hop):
        total[start : start + config.window_length] += window**2
    weights = graph.constant((1 / np.maximum(total, _SMALLEST_WINDOW_SUM))[None, None], "window_sum")
    waveform = graph.add("Mul", waveform, weights)
    half = config.window_length // 2
    stop = min(half + samples, len(total))
    waveform = graph.slice(waveform, half, stop, axis=2)
    waveform = graph.pad(waveform, (0, 0, 0), (0, 0, half + samples - stop))
    return graph.add("Squeeze", waveform, graph.constant([1], ""))


def _waves(length: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns cosine and sine, `[bins, length]`, in float64."""
    # Reduced to one turn in integers, so that large angles keep their precision.
    turns = np.outer(np.arange(length // 2 + 1), np.arange(length)) % length
    angles = 2 * np.pi * turns / length
    return np.cos(angles), np.sin(angles)


def _hann(length: int) -> np.ndarray:
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
