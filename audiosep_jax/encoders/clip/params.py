"""The parameters of CLIP's towers from the tensors of a transformers CLIP."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from audiosep_jax.encoders import tensor_mapping
from audiosep_jax.encoders.clip.config import ClipConfig, ClipTowerConfig
from audiosep_jax.encoders.tensor_mapping import Stored, conv, dense, embedding, norm, stack

# Buffers of older versions of transformers, and the temperature of the contrastive loss.
UNUSED_TENSORS = ("*.embeddings.position_ids", "logit_scale")


def parameters(
    config: ClipConfig, tensors: Mapping[str, np.ndarray], *, where: str = "tensors"
) -> dict[str, Any]:
    """Rearranges the tensors of a transformers CLIP into the parameters of both towers, as float32.

    Raises:
      EncoderError: tensors are missing, unmapped or mis-shaped; the text names the place, `where`.
    """
    tree = {"text": _text(config), "vision": _vision(config)}
    return tensor_mapping.parameters(tree, tensors, what="CLIP", where=where, unused=UNUSED_TENSORS)


def _text(config: ClipConfig) -> dict[str, Any]:
    text, size = config.text, config.text.hidden_size
    embeddings = "text_model.embeddings"
    return {
        "words": embedding(f"{embeddings}.token_embedding", text.vocab_size, size),
        "positions": embedding(f"{embeddings}.position_embedding", text.max_position_embeddings, size),
        "layers": _layers(text, "text_model"),
        "norm": norm("text_model.final_layer_norm", size),
        "projection": dense("text_projection", size, config.projection_dim, bias=False),
    }


def _vision(config: ClipConfig) -> dict[str, Any]:
    vision, size = config.vision, config.vision.hidden_size
    embeddings = "vision_model.embeddings"
    window = (vision.patch_size, vision.patch_size)
    return {
        "class": Stored(f"{embeddings}.class_embedding", (size,)),
        "patches": conv(f"{embeddings}.patch_embedding", window, vision.num_channels, size, bias=False),
        "positions": embedding(f"{embeddings}.position_embedding", vision.num_patches + 1, size),
        # transformers' own spelling.
        "first_norm": norm("vision_model.pre_layrnorm", size),
        "layers": _layers(vision, "vision_model"),
        "norm": norm("vision_model.post_layernorm", size),
        "projection": dense("visual_projection", size, config.projection_dim, bias=False),
    }


def _layers(config: ClipTowerConfig, tower: str) -> dict[str, Any]:
    return stack([_layer(config, f"{tower}.encoder.layers.{i}") for i in range(config.num_hidden_layers)])


def _layer(config: ClipTowerConfig, name: str) -> dict[str, Any]:
    size, inner = config.hidden_size, config.intermediate_size
    return {
        "attention_norm": norm(f"{name}.layer_norm1", size),
        "query": dense(f"{name}.self_attn.q_proj", size, size),
        "key": dense(f"{name}.self_attn.k_proj", size, size),
        "value": dense(f"{name}.self_attn.v_proj", size, size),
        "attention_output": dense(f"{name}.self_attn.out_proj", size, size),
        "mlp_norm": norm(f"{name}.layer_norm2", size),
        "intermediate": dense(f"{name}.mlp.fc1", size, inner),
        "output": dense(f"{name}.mlp.fc2", inner, size),
    }
