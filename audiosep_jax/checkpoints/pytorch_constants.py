"""The constants in the PyTorch reference's state dict, and the order of all its tensors."""

from collections.abc import Iterator

import numpy as np

from audiosep_jax.config import ModelConfig

_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def constants(config: ModelConfig) -> dict[str, np.ndarray]:
    """Returns the STFT kernels and batch counters for a model that was not trained in PyTorch.

    The kernels equal torchlibrosa's (`torchlibrosa/stft.py`) bit for bit: powers of the root of unity in
    double precision, times the periodic Hann window, rounded to float32.
    """
    length = config.window_length
    bins = length // 2 + 1
    steps = np.arange(length)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
    tensors = {}
    for module, sign in (("stft", -1), ("istft", 1)):
        columns = steps[:bins] if module == "stft" else steps
        matrix = np.power(np.exp(sign * 2 * np.pi * 1j / length), steps[:, None] * columns)
        if module == "stft":
            kernel = (matrix * window[:, None]).T[:, None, :]
        else:
            kernel = (matrix / length * window[None, :]).T[:, :, None]
        tensors[f"base.{module}.conv_real.weight"] = np.real(kernel).astype(np.float32)
        tensors[f"base.{module}.conv_imag.weight"] = np.imag(kernel).astype(np.float32)
    tensors["base.istft.ola_window"] = (window**2).astype(np.float32)
    for name in order():
        if name.endswith("num_batches_tracked"):
            tensors[name] = np.array(0, np.int64)
    return tensors


def order() -> list[str]:
    """Returns the names of the reference's state dict (without prefix) in its order.

    The list has a shortcut for every block; a model has one only where the width changes.
    """
    return [f"base.{name}" for name in _base()] + [f"film.{name}" for name in _film()]


def _base() -> Iterator[str]:
    yield from ("stft.conv_real.weight", "stft.conv_imag.weight")
    yield from ("istft.ola_window", "istft.conv_real.weight", "istft.conv_imag.weight")
    yield from _norm("bn0")
    yield from ("pre_conv.weight", "pre_conv.bias")
    for block in _ENCODER:
        yield from _block(f"{block}.conv_block1")
    for block in _DECODER:
        yield f"{block}.conv1.weight"
        yield from _norm(f"{block}.bn1")
        yield from _block(f"{block}.conv_block2")
        yield from _norm(f"{block}.bn2")
    yield from ("after_conv.weight", "after_conv.bias")


def _film() -> Iterator[str]:
    blocks = [f"{block}->conv_block1" for block in _ENCODER]
    for block in _DECODER:
        blocks += [block, f"{block}->conv_block2"]
    for block in blocks:
        for index in (1, 2):
            yield from (f"{block}->beta{index}.weight", f"{block}->beta{index}.bias")


_ENCODER = (*(f"encoder_block{index}" for index in range(1, 7)), "conv_block7a")
_DECODER = tuple(f"decoder_block{index}" for index in range(1, 7))


def _norm(name: str) -> Iterator[str]:
    return (f"{name}.{leaf}" for leaf in _NORM)


def _block(name: str) -> Iterator[str]:
    yield from _norm(f"{name}.bn1")
    yield from _norm(f"{name}.bn2")
    yield from (f"{name}.conv1.weight", f"{name}.conv2.weight")
    yield from (f"{name}.shortcut.weight", f"{name}.shortcut.bias")
