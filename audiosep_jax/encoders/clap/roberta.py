"""RoBERTa, CLAP's text tower, in Flax Linen: BERT with other positions and a pooled first token."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from audiosep_jax.encoders import bert
from audiosep_jax.encoders.clap.config import RobertaConfig


def positions(
    config: RobertaConfig, token_ids: Int[Array, "batch length"], mask: Bool[Array, "batch length"]
) -> Int[Array, "batch length"]:
    """Returns the position of every token, as fairseq's `make_positions` counts them.

    The first token has the position `pad_token_id + 1`; every padding token has `pad_token_id`, and the count
    skips it.
    """
    counted = (mask & (token_ids != config.pad_token_id)).astype(jnp.int32)
    return jnp.cumsum(counted, axis=1) * counted + config.pad_token_id


class Roberta(nn.Module):
    """The encoder of "RoBERTa: A Robustly Optimized BERT Pretraining Approach" (arXiv 1907.11692)."""

    config: RobertaConfig

    @nn.compact
    def __call__(
        self, token_ids: Int[Array, "batch length"], mask: Bool[Array, "batch length"]
    ) -> Float[Array, "batch hidden"]:
        """Returns the pooled first token: a dense layer and tanh."""
        config = self.config
        hidden = bert.Bert(config, name="encoder")(token_ids, mask, positions(config, token_ids, mask))
        return jnp.tanh(nn.Dense(config.hidden_size, name="pooler")(hidden[:, 0]))


def apply(
    config: RobertaConfig,
    params: Mapping[str, Any],
    token_ids: Int[Array, "batch length"],
    mask: Bool[Array, "batch length"],
) -> Float[Array, "batch hidden"]:
    """Returns the pooled first token. Pure and jit-able; float32 products on every platform.

    `params` are "roberta" of `params.text_parameters`; `token_ids` have at most `config.max_tokens` columns;
    `mask` is true where there is a token, false where there is padding.
    """
    # Accelerators multiply in bfloat16 or TF32 by default; conditions must be the same everywhere.
    with jax.default_matmul_precision("highest"):
        return Roberta(config).apply({"params": params}, token_ids, mask)  # pyright: ignore[reportReturnType]
