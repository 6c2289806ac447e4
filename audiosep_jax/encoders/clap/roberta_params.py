"""The parameters of `roberta` from the tensors of a transformers-style `model.safetensors`."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from audiosep_jax.encoders import bert_params, tensor_mapping
from audiosep_jax.encoders.clap.roberta import RobertaConfig
from audiosep_jax.encoders.tensor_mapping import dense

# Counters that some versions of transformers store beside the weights.
UNUSED_TENSORS = ("embeddings.position_ids", "embeddings.token_type_ids")


def parameters(
    config: RobertaConfig, tensors: Mapping[str, np.ndarray], *, where: str = "tensors"
) -> dict[str, Any]:
    """Rearranges the tensors of a transformers RoBERTa into this module's parameters.

    Args:
      config: shape of the encoder.
      tensors: by their transformers names, such as `encoder.layer.0.output.dense.weight`.
      where: how errors name the place.

    Raises:
      AudioSepError: names every missing, unmapped and mis-shaped tensor at once.
    """
    return tensor_mapping.parameters(
        tree(config), tensors, what="RoBERTa", where=where, unused=UNUSED_TENSORS
    )


def tree(config: RobertaConfig, *, prefix: str = "") -> dict[str, Any]:
    """Returns where each parameter comes from.

    Args:
      config: shape of the encoder.
      prefix: stands before every name, such as `text_branch.`.
    """
    size = config.hidden_size
    return {
        "encoder": bert_params.tree(config, prefix=prefix),
        "pooler": dense(f"{prefix}pooler.dense", size, size),
    }
