"""The two towers of CLIP in Flax Linen: pure `init`, `text_embeddings` and `image_embeddings`."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from audiosep_jax.encoders.bert import ACTIVATIONS
from audiosep_jax.encoders.clip.config import ClipConfig, ClipTextConfig, ClipTowerConfig, ClipVisionConfig

# transformers gave CLIP's text tower this eos_token_id until 4.31, whatever the tokenizer had.
LEGACY_EOS_TOKEN_ID = 2


class ClipLayer(nn.Module):
    """One transformer block, normalized before each sublayer."""

    config: ClipTowerConfig
    causal: bool

    @nn.compact
    def __call__(
        self, hidden: Float[Array, "batch length hidden"], _: None
    ) -> tuple[Float[Array, "batch length hidden"], None]:
        """Returns the next hidden states, in the (carry, output) form of `nn.scan`."""
        config = self.config
        batch, length, size = hidden.shape
        heads = (batch, length, config.num_attention_heads, size // config.num_attention_heads)

        normed = _norm(config, "attention_norm")(hidden)
        query = nn.Dense(size, name="query")(normed).reshape(heads)
        key = nn.Dense(size, name="key")(normed).reshape(heads)
        value = nn.Dense(size, name="value")(normed).reshape(heads)
        scores = jnp.einsum("bqhd,bkhd->bhqk", query, key) / np.float32(np.sqrt(heads[-1]))
        if self.causal:
            seen = jnp.tril(jnp.ones((1, 1, length, length), bool))
            scores = jnp.where(seen, scores, jnp.finfo(jnp.float32).min)
        attention = jax.nn.softmax(scores, axis=-1)
        attended = jnp.einsum("bhqk,bkhd->bqhd", attention, value).reshape(hidden.shape)
        hidden = hidden + nn.Dense(size, name="attention_output")(attended)

        inner = nn.Dense(config.intermediate_size, name="intermediate")(_norm(config, "mlp_norm")(hidden))
        inner = ACTIVATIONS[config.hidden_act](inner)
        return hidden + nn.Dense(size, name="output")(inner), None


class ClipText(nn.Module):
    """The text tower of "Learning Transferable Visual Models From Natural Language Supervision" (2103.00020).

    Attention is causal, so tokens after the end-of-text token change nothing.
    """

    config: ClipTextConfig
    projection_dim: int

    @nn.compact
    def __call__(self, token_ids: Int[Array, "batch length"]) -> Float[Array, "batch size"]:
        """Returns the projected hidden state of each text's end-of-text token, of any length."""
        config = self.config
        words = nn.Embed(config.vocab_size, config.hidden_size, name="words")(token_ids)
        positions = nn.Embed(config.max_position_embeddings, config.hidden_size, name="positions")(
            jnp.arange(token_ids.shape[1])[None]
        )
        hidden = _layers(config, causal=True)(words + positions)
        places = end_of_text(token_ids, eos_token_id=config.eos_token_id)
        pooled = jnp.take_along_axis(hidden, places[:, None, None], axis=1)[:, 0]
        pooled = _norm(config, "norm")(pooled)
        return nn.Dense(self.projection_dim, use_bias=False, name="projection")(pooled)


class ClipVision(nn.Module):
    """The vision tower: a transformer over a class token and patches."""

    config: ClipVisionConfig
    projection_dim: int

    @nn.compact
    def __call__(self, pixels: Float[Array, "batch height width 3"]) -> Float[Array, "batch size"]:
        """Returns the projected hidden state of the class token, of any length."""
        config = self.config
        patch, size = (config.patch_size, config.patch_size), config.hidden_size
        patches = nn.Conv(size, patch, strides=patch, padding="VALID", use_bias=False, name="patches")(pixels)
        patches = patches.reshape(len(pixels), config.num_patches, size)
        first = self.param("class", nn.initializers.normal(0.02), (size,))
        first = jnp.broadcast_to(first, (len(pixels), 1, size))
        positions = nn.Embed(config.num_patches + 1, size, name="positions")(
            jnp.arange(config.num_patches + 1)[None]
        )
        hidden = jnp.concatenate([first, patches], axis=1) + positions
        hidden = _layers(config, causal=False)(_norm(config, "first_norm")(hidden))
        pooled = _norm(config, "norm")(hidden[:, 0])
        return nn.Dense(self.projection_dim, use_bias=False, name="projection")(pooled)


def end_of_text(token_ids: Int[Array, "batch length"], *, eos_token_id: int) -> Int[Array, " batch"]:
    """Returns the index of the token at which each text is pooled, as in transformers.

    It is the first end-of-text token. Models with the eos_token_id 2, from older versions of transformers,
    are pooled at the highest token id instead, which is CLIP's end-of-text token.
    """
    if eos_token_id == LEGACY_EOS_TOKEN_ID:
        return jnp.argmax(token_ids, axis=1)
    return jnp.argmax(token_ids == eos_token_id, axis=1)


def init(config: ClipConfig, key: Array) -> dict[str, Any]:
    """Returns random parameters of both towers; those of the layers are stacked on a leading axis."""
    text, vision = jax.random.split(key)
    image = jnp.zeros((1, config.vision.image_size, config.vision.image_size, 3))
    return {
        "text": dict(_text(config).init(text, jnp.zeros((1, 1), jnp.int32))["params"]),
        "vision": dict(_vision(config).init(vision, image)["params"]),
    }


def text_embeddings(
    config: ClipConfig, params: Mapping[str, Any], token_ids: Int[Array, "batch length"]
) -> Float[Array, "batch size"]:
    """Returns transformers' `text_embeds` before scaling to unit length. Pure and jit-able.

    `token_ids` have at most `max_position_embeddings` columns; anything may follow the end-of-text token.
    """
    # Accelerators multiply in bfloat16 or TF32 by default; conditions must be the same everywhere.
    with jax.default_matmul_precision("highest"):
        return _text(config).apply({"params": params["text"]}, token_ids)  # pyright: ignore[reportReturnType]


def image_embeddings(
    config: ClipConfig, params: Mapping[str, Any], pixels: Float[Array, "batch height width 3"]
) -> Float[Array, "batch size"]:
    """Returns transformers' `image_embeds` before scaling to unit length. Pure and jit-able.

    `pixels` are normalized (see `images.preprocess`), `image_size` high and wide.
    """
    with jax.default_matmul_precision("highest"):
        return _vision(config).apply({"params": params["vision"]}, pixels)  # pyright: ignore[reportReturnType]


def _text(config: ClipConfig) -> ClipText:
    return ClipText(config.text, config.projection_dim)


def _vision(config: ClipConfig) -> ClipVision:
    return ClipVision(config.vision, config.projection_dim)


def _norm(config: ClipTowerConfig, name: str) -> nn.LayerNorm:
    return nn.LayerNorm(epsilon=config.layer_norm_eps, use_fast_variance=False, name=name)


def _layers(config: ClipTowerConfig, *, causal: bool) -> Any:
    # A scan compiles one layer instead of all: the first query of a process waits for the compiler.
    layers = nn.scan(
        ClipLayer,
        variable_axes={"params": 0},
        split_rngs={"params": True},
        length=config.num_hidden_layers,
    )(config, causal, name="layers")
    return lambda hidden: layers(hidden, None)[0]
