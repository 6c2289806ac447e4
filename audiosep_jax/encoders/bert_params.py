"""The parameters of `bert` from the tensors of a transformers-style `model.safetensors`."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from audiosep_jax.encoders import tensor_mapping
from audiosep_jax.encoders.bert import BertConfig
from audiosep_jax.encoders.tensor_mapping import dense, embedding, norm, stack

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
    return tensor_mapping.parameters(tree(config), tensors, what="BERT", where=where, unused=UNUSED_TENSORS)


def tree(config: BertConfig, *, prefix: str = "") -> dict[str, Any]:
    """Returns where each parameter comes from.

    Written out, because tracing `init` for its shapes costs a third of a second at the first query.

    Args:
      config: shape of the encoder.
      prefix: stands before every name, such as `text_model.`.
    """
    size = config.hidden_size
    embeddings = f"{prefix}embeddings"
    return {
        "words": embedding(f"{embeddings}.word_embeddings", config.vocab_size, size),
        "positions": embedding(f"{embeddings}.position_embeddings", config.max_position_embeddings, size),
        "types": embedding(f"{embeddings}.token_type_embeddings", config.type_vocab_size, size),
        "norm": norm(f"{embeddings}.LayerNorm", size),
        "layers": stack(
            [_layer(config, f"{prefix}encoder.layer.{i}") for i in range(config.num_hidden_layers)]
        ),
    }


def _layer(config: BertConfig, name: str) -> dict[str, Any]:
    size, inner = config.hidden_size, config.intermediate_size
    return {
        "query": dense(f"{name}.attention.self.query", size, size),
        "key": dense(f"{name}.attention.self.key", size, size),
        "value": dense(f"{name}.attention.self.value", size, size),
        "attention_output": dense(f"{name}.attention.output.dense", size, size),
        "attention_norm": norm(f"{name}.attention.output.LayerNorm", size),
        "intermediate": dense(f"{name}.intermediate.dense", size, inner),
        "output": dense(f"{name}.output.dense", inner, size),
        "output_norm": norm(f"{name}.output.LayerNorm", size),
    }
