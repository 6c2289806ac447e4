"""The parameters of `bert` from the tensors of a transformers-style `model.safetensors`."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from audiosep_jax.errors import AudioSepError
from audiosep_jax.query.bert import BertConfig

# Tensors of a transformers BERT that no hidden state depends on.
UNUSED_TENSORS = ("embeddings.position_ids", "pooler.dense.weight", "pooler.dense.bias")


def parameters(
    config: BertConfig, tensors: Mapping[str, np.ndarray], *, where: str = "tensors"
) -> dict[str, Any]:
    """Rearranges the tensors of a transformers BERT into this module's parameters.

    Args:
      config: shape of the encoder.
      tensors: by their transformers names, such as `encoder.layer.0.output.dense.weight`.
      where: how errors name the place.

    Raises:
      AudioSepError: names every missing, unmapped and mis-shaped tensor at once.
    """
    problems: list[str] = []
    unmapped = set(tensors) - set(UNUSED_TENSORS)

    def fetch(name: str, kind: str, shape: tuple[int, ...]) -> np.ndarray:
        name = f"{name}.{'bias' if kind == 'bias' else 'weight'}"
        # A kernel of Linen is [in, out], a weight of PyTorch's Linear is [out, in].
        stored = shape[::-1] if kind == "kernel" else shape
        unmapped.discard(name)
        tensor = tensors.get(name)
        if tensor is None:
            problems.append(f"missing {name}")
        elif tensor.shape != stored or not jnp.issubdtype(tensor.dtype, np.floating):
            problems.append(f"mis-shaped {name} ({tensor.dtype} {tensor.shape}, float {stored} is needed)")
        else:
            tensor = np.asarray(tensor, np.float32)
            return tensor.T if kind == "kernel" else tensor
        return np.zeros(shape, np.float32)

    embeddings, layers = _modules(config)
    params: dict[str, Any] = {
        module: {kind: fetch(name, kind, shape) for kind, shape in leaves.items()}
        for module, (name, leaves) in embeddings.items()
    }
    params["layers"] = {
        module: {
            kind: np.stack(
                [
                    fetch(f"encoder.layer.{layer}.{name}", kind, shape)
                    for layer in range(config.num_hidden_layers)
                ]
            )
            for kind, shape in leaves.items()
        }
        for module, (name, leaves) in layers.items()
    }
    problems += [f"unmapped {name}" for name in sorted(unmapped)]
    if problems:
        raise AudioSepError(f"{where} does not hold the BERT of its config.json: {'; '.join(problems)}.")
    return params


_Modules = dict[str, tuple[str, dict[str, tuple[int, ...]]]]


def _modules(config: BertConfig) -> tuple[_Modules, _Modules]:
    """Returns the modules before and inside the layers: transformers' name, and the shapes of the leaves.

    Written out, because tracing `init` for its shapes costs a third of a second at the first query.
    """
    size, inner = config.hidden_size, config.intermediate_size
    norm: dict[str, tuple[int, ...]] = {"scale": (size,), "bias": (size,)}
    dense: dict[str, tuple[int, ...]] = {"kernel": (size, size), "bias": (size,)}
    embeddings: _Modules = {
        "words": ("embeddings.word_embeddings", {"embedding": (config.vocab_size, size)}),
        "positions": (
            "embeddings.position_embeddings",
            {"embedding": (config.max_position_embeddings, size)},
        ),
        "types": ("embeddings.token_type_embeddings", {"embedding": (config.type_vocab_size, size)}),
        "norm": ("embeddings.LayerNorm", norm),
    }
    layers: _Modules = {
        "query": ("attention.self.query", dense),
        "key": ("attention.self.key", dense),
        "value": ("attention.self.value", dense),
        "attention_output": ("attention.output.dense", dense),
        "attention_norm": ("attention.output.LayerNorm", norm),
        "intermediate": ("intermediate.dense", {"kernel": (size, inner), "bias": (inner,)}),
        "output": ("output.dense", {"kernel": (inner, size), "bias": (size,)}),
        "output_norm": ("output.LayerNorm", norm),
    }
    return embeddings, layers
