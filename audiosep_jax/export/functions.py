"""The two functions of an export, their inputs and outputs."""

import dataclasses
from typing import Literal

from audiosep_jax.config import ModelConfig
from audiosep_jax.models.masking import padded_samples

FunctionName = Literal["whole", "core"]


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A float32 input or output."""

    name: str
    shape: tuple[int, ...]  # after the batch, which is symbolic


@dataclasses.dataclass(frozen=True)
class Function:
    """A function of an exported model for one window length.

    "whole" maps a waveform to a waveform, "core" a magnitude to a mask.
    """

    name: FunctionName
    inputs: tuple[Tensor, Tensor]  # the signal, then the condition
    output: Tensor  # the estimate, or the mask


def function(config: ModelConfig, name: FunctionName, *, samples: int) -> Function:
    """Returns a function with its shapes for a window of `samples`."""
    condition = Tensor("condition", (config.condition_size,))
    if name == "whole":
        return Function(name, (Tensor("waveform", (samples,)), condition), Tensor("estimate", (samples,)))
    spectrogram = (frames(config, samples), config.window_length // 2 + 1)
    return Function(name, (Tensor("magnitude", spectrogram), condition), Tensor("mask", (*spectrogram, 3)))


def frames(config: ModelConfig, samples: int) -> int:
    """Returns the number of STFT frames of a window."""
    return padded_samples(config, samples) // config.hop_length + 1
