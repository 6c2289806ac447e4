"""Derives a model's config from the tensors of the PyTorch reference."""

import re
from collections import Counter
from collections.abc import Mapping

import numpy as np

from audiosep_jax.config import ModelConfig
from audiosep_jax.errors import CheckpointError, listed

# Tensors of the reference that it never uses; a file may lack all of them.
_UNUSED = re.compile(r"base\.decoder_block\d\.bn2\..*|film\.decoder_block\d->beta2\..*")

# Sample rate and hop of the models that were trained with the reference; no tensor reveals them.
PRESETS = {
    "base": ModelConfig(sample_rate_hz=32_000, window_length=2048, hop_length=320),
    "paper": ModelConfig(sample_rate_hz=32_000, window_length=1024, hop_length=320),
    "dcase": ModelConfig(sample_rate_hz=16_000, window_length=1024, hop_length=160),
}


def model_config(state_dict: Mapping[str, np.ndarray], *, preset: str | None, where: str) -> ModelConfig:
    """Returns the config of a separator from its state dict (without prefix); `where` names it in errors.

    Each size is a majority vote of the tensors that reveal it, so that one mis-shaped tensor does not count.
    The preset ("base", "paper" or "dcase") sets sample rate and hop; None takes the only preset with this
    STFT window.

    Raises:
      CheckpointError: no tensor reveals a size, the preset has another window, or several have this one.
    """
    shapes = {name: value.shape for name, value in state_dict.items()}

    def most(what: str, *places: tuple[str, int]) -> int:
        sizes = Counter(
            shapes[name][axis] for name, axis in places if name in shapes and len(shapes[name]) > axis
        )
        if not sizes:
            raise CheckpointError(
                f"{where} does not reveal {what}: {listed(name for name, _ in places)} are all missing."
            )
        return sizes.most_common(1)[0][0]

    leaves = ("weight", "bias", "running_mean", "running_var")
    window = 2 * (most("the STFT window", *((f"base.bn0.{leaf}", 0) for leaf in leaves)) - 1)
    widths = tuple(
        most(
            f"the width of encoder block {index}",
            (f"base.encoder_block{index}.conv_block1.conv2.weight", 0),
            (f"base.encoder_block{index}.conv_block1.conv2.weight", 1),
            (f"base.encoder_block{index}.conv_block1.conv1.weight", 0),
            *((f"base.encoder_block{index}.conv_block1.bn2.{leaf}", 0) for leaf in leaves),
        )
        for index in range(1, 7)
    )
    films = [name for name in shapes if name.startswith("film.") and name.endswith(".weight")]
    condition = most("the size of the condition", *((name, 1) for name in films or ["film.….weight"]))
    chosen = _preset(window, preset, where=where)
    return ModelConfig(
        sample_rate_hz=PRESETS[chosen].sample_rate_hz,
        window_length=window,
        hop_length=PRESETS[chosen].hop_length,
        encoder_widths=widths,
        condition_size=condition,
        unused_tensors=any(_UNUSED.fullmatch(name) for name in shapes),
    )


def _preset(window: int, preset: str | None, *, where: str) -> str:
    fitting = [name for name, config in PRESETS.items() if config.window_length == window]
    if preset is None and len(fitting) == 1:
        return fitting[0]
    described = ", ".join(
        f"{name} ({config.sample_rate_hz} Hz, hop {config.hop_length})"
        for name, config in PRESETS.items()
        if name in fitting or not fitting
    )
    if not fitting:
        raise CheckpointError(
            f"{where} has an STFT window of {window} samples: the known models, {described}, have "
            f"{' or '.join(str(size) for size in sorted({c.window_length for c in PRESETS.values()}))}."
        )
    if preset is None:
        raise CheckpointError(
            f"{where} has an STFT window of {window} samples, and no tensor reveals sample rate and hop: "
            f"name the model with --preset, one of {described}."
        )
    if preset not in fitting:
        raise CheckpointError(
            f"{where} has an STFT window of {window} samples, and --preset {preset} one of "
            f"{PRESETS[preset].window_length}: choose {' or '.join(fitting)}."
        )
    return preset
