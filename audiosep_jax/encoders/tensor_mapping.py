"""A tower's tree of parameters from a checkpoint's tensors by their PyTorch names.

A tower describes its tree as nested dicts of `Stored`, mostly made by `dense`, `norm`, `embedding`, `conv`
and `stack`. `parameters` fills the tree, or raises an error that names the tensors that do not fit.
"""

import dataclasses
import fnmatch
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from audiosep_jax.errors import EncoderError, listed


@dataclasses.dataclass(frozen=True)
class Stored:
    """The tensor of one parameter, or several tensors that are stacked on a leading axis."""

    name: str | tuple[str, ...]
    shape: tuple[int, ...]  # of a tensor, as PyTorch stores it
    axes: tuple[int, ...] | None = None  # from PyTorch's axes to the parameter's; None for the same order


# The values are `Stored` or trees; beartype does not resolve a recursive alias.
Tree = Mapping[str, Any]


def dense(name: str, inputs: int, outputs: int, *, bias: bool = True) -> dict[str, Stored]:
    """Describes an `nn.Dense` from a PyTorch Linear, whose weight is [outputs, inputs]."""
    kernel = {"kernel": Stored(f"{name}.weight", (outputs, inputs), (1, 0))}
    return kernel | ({"bias": Stored(f"{name}.bias", (outputs,))} if bias else {})


def norm(name: str, size: int) -> dict[str, Stored]:
    """Describes an `nn.LayerNorm`."""
    return {"scale": Stored(f"{name}.weight", (size,)), "bias": Stored(f"{name}.bias", (size,))}


def embedding(name: str, rows: int, size: int) -> dict[str, Stored]:
    """Describes an `nn.Embed`."""
    return {"embedding": Stored(f"{name}.weight", (rows, size))}


def conv(
    name: str, window: tuple[int, int], inputs: int, outputs: int, *, bias: bool = True
) -> dict[str, Stored]:
    """Describes an `nn.Conv` from a PyTorch Conv2d, whose weight is [outputs, inputs, *window]."""
    kernel = {"kernel": Stored(f"{name}.weight", (outputs, inputs, *window), (2, 3, 1, 0))}
    return kernel | ({"bias": Stored(f"{name}.bias", (outputs,))} if bias else {})


def stack(trees: Sequence[Tree]) -> dict[str, Any]:
    """Describes equal modules whose parameters `nn.scan` stacks on a leading axis."""
    stacked: dict[str, Any] = {}
    for key, first in trees[0].items():
        members: list[Any] = [tree[key] for tree in trees]
        if isinstance(first, Stored):
            stacked[key] = dataclasses.replace(first, name=tuple(member.name for member in members))
        else:
            stacked[key] = stack(members)
    return stacked


def parameters(
    tree: Tree,
    tensors: Mapping[str, np.ndarray],
    *,
    what: str,
    where: str = "tensors",
    unused: Sequence[str] = (),
) -> dict[str, Any]:
    """Returns the tree with a float32 array in place of each `Stored`, from tensors of any floating type.

    `what` is the model in errors, such as "BERT", and `where` the file. Tensors named in `unused` (`*`
    matches anything) are ignored, because no output depends on them.

    Raises:
      EncoderError: tensors are missing, unmapped or mis-shaped; names up to five and counts the others.
    """
    problems: list[str] = []
    unmapped = {name for name in tensors if not any(fnmatch.fnmatchcase(name, u) for u in unused)}

    def read(name: str, shape: tuple[int, ...]) -> np.ndarray:
        unmapped.discard(name)
        tensor = tensors.get(name)
        if tensor is None:
            problems.append(f"missing {name}")
        elif tensor.shape != shape or not jnp.issubdtype(tensor.dtype, np.floating):
            problems.append(f"mis-shaped {name} ({tensor.dtype} {tensor.shape}, float {shape} is needed)")
        else:
            return tensor
        return np.zeros(shape, np.float32)

    def fill(tree: Tree) -> dict[str, Any]:
        return {key: leaf(node) if isinstance(node, Stored) else fill(node) for key, node in tree.items()}

    def leaf(stored: Stored) -> np.ndarray:
        axes = stored.axes or tuple(range(len(stored.shape)))
        if isinstance(stored.name, str):
            return np.asarray(read(stored.name, stored.shape).transpose(axes), np.float32)
        rows = np.empty((len(stored.name), *(stored.shape[axis] for axis in axes)), np.float32)
        for row, name in zip(rows, stored.name, strict=True):
            row[...] = read(name, stored.shape).transpose(axes)
        return rows

    params = fill(tree)
    problems += [f"unmapped {name}" for name in sorted(unmapped)]
    if problems:
        raise EncoderError(f"{where} does not hold the {what} of its config.json: {listed(problems)}.")
    return params
