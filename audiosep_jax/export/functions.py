"""What an export can compute: the two functions, their inputs and outputs."""

import dataclasses
from typing import Literal

from audiosep_jax.config import ModelConfig
from audiosep_jax.models.masking import padded_samples

FunctionName = Literal["whole", "core"]


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A float32 array that goes in or comes out.

    Attributes:
      name: of the input or output.
      shape: after the batch, which is symbolic.
    """

    name: str
    shape: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Function:
    """A function of an exported model for one length of window.

    Attributes:
      name: "whole" is from waveform to waveform, "core" from magnitude to mask.
      inputs: the signal, then the condition.
      output: the estimate, or the mask.
    """

    name: FunctionName
    inputs: tuple[Tensor, Tensor]
    output: Tensor


def function(config: ModelConfig, name: FunctionName, *, samples: int) -> Function:
    """Returns a function with the shapes that a window of `samples` gives it."""
    condition = Tensor("condition", (config.condition_size,))
    if name == "whole":
        return Function(name, (Tensor("waveform", (samples,)), condition), Tensor("estimate", (samples,)))
    spectrogram = (frames(config, samples), config.window_length // 2 + 1)
    return Function(name, (Tensor("magnitude", spectrogram), condition), Tensor("mask", (*spectrogram, 3)))


def frames(config: ModelConfig, samples: int) -> int:
    """Returns the frames of the STFT of a window."""
    return padded_samples(config, samples) // config.hop_length + 1
