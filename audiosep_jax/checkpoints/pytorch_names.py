"""Pairs the tensors of the PyTorch reference with the leaves of our tree, and converts between them."""

import dataclasses
import re
from collections.abc import Iterator, Mapping

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from audiosep_jax.config import ModelConfig
from audiosep_jax.errors import CheckpointError, listed
from audiosep_jax.models import separator

_BATCH_NORM = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
# Constants and counters of the reference's modules; this model computes them or does not need them.
_CARRIED = re.compile(r"base\.i?stft\.(conv_(real|imag)\.weight|ola_window)|base\..*\bnum_batches_tracked")
_WEIGHT_TYPES = ("float32", "float16", "bfloat16")
# Our modules -> the reference's; convolutions have the same names.
_BLOCKS = {
    "encoder": ("encoder_block{}", "conv_block1"),
    "bottleneck": ("conv_block7a", "conv_block1"),
    "decoder": ("decoder_block{}",),
}
_LAYERS = {"block": "conv_block2", "up": "conv1", "norm": "bn1", "unused_norm": "bn2"}
_LAYERS |= {"norm1": "bn1", "norm2": "bn2"}
_KERNEL_AXES = {"conv": (2, 3, 1, 0), "up": (2, 3, 0, 1), "dense": (1, 0)}


@dataclasses.dataclass(frozen=True)
class TensorName:
    """One tensor under its two names."""

    path: tuple[str, ...]  # collection and path in our tree, such as ("params", "resunet", "bn0", "scale")
    pytorch: str  # key in the reference's state dict, such as "base.bn0.weight"
    axes: tuple[int, ...]  # order in which the PyTorch tensor's axes are read to get ours


def tensor_names(config: ModelConfig) -> list[TensorName]:
    """Returns the pair of names for every leaf of a model that has the reference's architecture.

    Raises:
      CheckpointError: the config has parts that the reference lacks.
    """
    if config.film != "shift" or config.bottleneck_blocks != 1 or len(config.encoder_widths) != 6:
        raise CheckpointError(
            "the PyTorch reference has six encoder blocks, one bottleneck block and a FiLM that only shifts; "
            f"this model has {len(config.encoder_widths)}, {config.bottleneck_blocks} and {config.film!r}."
        )
    if config.patch_bins != 1:
        raise CheckpointError(
            "the PyTorch reference takes every frequency bin as a position; this model joins "
            f"{config.patch_bins} bins."
        )
    if config.magnitude_power != 1:
        raise CheckpointError(
            "the PyTorch reference takes the magnitude as it is; this model raises it to the power of "
            f"{config.magnitude_power}."
        )
    return [_name(path) for path in separator.flat_shapes(config)]


def is_carried(name: str) -> bool:
    """Whether a tensor of the reference has no leaf in our tree.

    These are the kernels of its STFT and the batch counters of its BatchNorms.

    Examples:
      >>> is_carried("base.bn0.num_batches_tracked"), is_carried("base.bn0.weight")
      (True, False)
    """
    return _CARRIED.fullmatch(name) is not None


def problems(config: ModelConfig, state_dict: Mapping[str, np.ndarray]) -> list[str]:
    """Returns a phrase for every tensor (without prefix) that is missing, mis-shaped, mistyped or unknown."""
    shapes = separator.flat_shapes(config)
    found, known = [], set()
    for name in tensor_names(config):
        known.add(name.pytorch)
        if name.pytorch not in state_dict:
            found.append(f"{name.pytorch} is missing")
            continue
        value = state_dict[name.pytorch]
        if value.ndim != len(name.axes) or value.transpose(name.axes).shape != shapes[name.path]:
            needed = tuple(int(size) for size in np.array(shapes[name.path])[np.argsort(name.axes)])
            found.append(f"{name.pytorch} has shape {value.shape}, needed is {needed}")
        elif value.dtype.name not in _WEIGHT_TYPES:
            found.append(f"{name.pytorch} is {value.dtype}, needed is float32, float16 or bfloat16")
    found += [f"{name} is unknown" for name in state_dict if name not in known and not is_carried(name)]
    return found


def from_pytorch(config: ModelConfig, state_dict: Mapping[str, np.ndarray]) -> separator.Variables:
    """Returns our variables from a separator's state dict (without prefix).

    Raises:
      CheckpointError: tensors are missing, mis-shaped or unknown.
    """
    found = problems(config, state_dict)
    if found:
        raise CheckpointError(f"the state dict does not fit this model: {listed(found, separator='; ')}.")
    return unflatten_dict(
        {
            name.path: np.transpose(np.asarray(state_dict[name.pytorch], np.float32), name.axes)
            for name in tensor_names(config)
        }
    )


def to_pytorch(config: ModelConfig, variables: separator.Variables) -> dict[str, np.ndarray]:
    """Returns the separator's state dict (without prefix); the inverse of `from_pytorch`, bit for bit.

    Raises:
      CheckpointError: the config has parts that the reference lacks.
    """
    flat = flatten_dict(dict(variables))
    return {
        name.pytorch: np.transpose(np.asarray(flat[name.path]), np.argsort(name.axes))
        for name in tensor_names(config)
    }


def _name(path: tuple[str, ...]) -> TensorName:
    leaf = path[-1]
    modules = list(_pytorch_modules(path[2:-1]))
    kind = path[-2]
    if path[-3] == "film":
        # film.encoder_block1->conv_block1->beta1
        norm = modules.pop().replace("bn", "beta")
        key = "film." + "->".join([*modules, norm])
        axes = _KERNEL_AXES["dense"] if leaf == "kernel" else (0,)
    elif kind in ("bn", "bn0"):
        return TensorName(path, "base." + ".".join(modules) + f".{_BATCH_NORM[leaf]}", (0,))
    else:
        key = "base." + ".".join(modules)
        axes = _KERNEL_AXES["up" if kind == "up" else "conv"] if leaf == "kernel" else (0,)
    return TensorName(path, f"{key}.{'weight' if leaf == 'kernel' else 'bias'}", axes)


def _pytorch_modules(modules: tuple[str, ...]) -> Iterator[str]:
    for module in modules:
        numbered = re.fullmatch(r"(encoder|bottleneck|decoder)(\d+)", module)
        if numbered:
            yield from (name.format(numbered[2]) for name in _BLOCKS[numbered[1]])
        elif module not in ("bn", "film", "shift"):
            yield _LAYERS.get(module, module)
