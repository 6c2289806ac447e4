"""Which tensor of the PyTorch reference is which leaf of our tree, and how its axes are ordered."""

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np
from flax.traverse_util import unflatten_dict

from audiosep_jax.config import ModelConfig
from audiosep_jax.errors import AudioSepError
from audiosep_jax.models import separator

_BATCH_NORM = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
_KERNEL_AXES = {"conv": (2, 3, 1, 0), "up": (2, 3, 0, 1), "dense": (1, 0)}


@dataclasses.dataclass(frozen=True)
class TensorName:
    """One tensor under its two names.

    Attributes:
      path: collection and path in our tree, such as ("params", "resunet", "bn0", "scale").
      pytorch: key in the reference's state dict, such as "base.bn0.weight".
      axes: order in which the PyTorch tensor's axes are read to get ours.
    """

    path: tuple[str, ...]
    pytorch: str
    axes: tuple[int, ...]


def tensor_names(config: ModelConfig) -> list[TensorName]:
    """Returns the pairs for every leaf of a released-shape model.

    Raises:
      AudioSepError: the config has parts that the reference does not know.
    """
    if config.film != "shift" or config.bottleneck_blocks != 1 or len(config.encoder_widths) != 6:
        raise AudioSepError(
            "the PyTorch reference has six encoder blocks, one bottleneck block and a FiLM that only shifts; "
            f"this model has {len(config.encoder_widths)}, {config.bottleneck_blocks} and {config.film!r}."
        )
    return [_name(path) for path in separator.flat_shapes(config)]


def from_pytorch(config: ModelConfig, state_dict: Mapping[str, np.ndarray]) -> separator.Variables:
    """Returns our variables from a separator's state dict (without prefix), tensors unread so far untouched.

    Raises:
      AudioSepError: tensors are missing or mis-shaped; all of them are named at once.
    """
    shapes = separator.flat_shapes(config)
    flat, problems = {}, []
    for name in tensor_names(config):
        if name.pytorch not in state_dict:
            problems.append(f"{name.pytorch} is missing")
            continue
        value = np.transpose(np.asarray(state_dict[name.pytorch], np.float32), name.axes)
        if value.shape != shapes[name.path]:
            problems.append(f"{name.pytorch} gives {value.shape}, needed is {shapes[name.path]}")
        flat[name.path] = value
    if problems:
        raise AudioSepError(f"the state dict does not fit this model: {'; '.join(problems)}.")
    return unflatten_dict(flat)


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
        if module.startswith("encoder"):
            yield f"encoder_block{module.removeprefix('encoder')}"
            yield "conv_block1"
        elif module.startswith("bottleneck"):
            yield "conv_block7a"
            yield "conv_block1"
        elif module.startswith("decoder"):
            yield f"decoder_block{module.removeprefix('decoder')}"
        elif module == "block":
            yield "conv_block2"
        elif module == "up":
            yield "conv1"
        elif module == "norm":
            yield "bn1"
        elif module == "unused_norm":
            yield "bn2"
        elif module.startswith("norm"):
            yield f"bn{module.removeprefix('norm')}"
        elif module not in ("bn", "film", "shift"):
            yield module
