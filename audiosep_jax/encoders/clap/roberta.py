"""RoBERTa in Flax Linen, with the pooled first token: BERT with another rule for positions."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from audiosep_jax.encoders import bert
from audiosep_jax.errors import EncoderError


@dataclasses.dataclass(frozen=True, kw_only=True)
class RobertaConfig(bert.BertConfig):
    """Shape of a RoBERTa encoder; fields are named as in transformers' `config.json`."""

    pad_token_id: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.pad_token_id < self.vocab_size:
            raise EncoderError(
                f"pad_token_id is {self.pad_token_id}: it must be one of the {self.vocab_size} tokens."
            )
        if self.max_tokens < 3:
            raise EncoderError(
                f"max_position_embeddings is {self.max_position_embeddings}: positions start at "
                f"{self.pad_token_id + 1}, which leaves no room for a text."
            )

    @property
    def max_tokens(self) -> int:
        """Most tokens of a text: the table's first `pad_token_id + 1` positions belong to padding."""
        return self.max_position_embeddings - self.pad_token_id - 1


def positions(
    config: RobertaConfig, token_ids: Int[Array, "batch length"], mask: Bool[Array, "batch length"]
) -> Int[Array, "batch length"]:
    """Returns the position of every token, as fairseq's `make_positions` counts them.

    Tokens that are no padding count from `pad_token_id + 1`; a padding token has the position `pad_token_id`,
    wherever it stands.
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


def init(config: RobertaConfig, key: Array) -> dict[str, Any]:
    """Returns random parameters; those of the layers are stacked on a leading axis."""
    shape = (1, 1)
    return dict(Roberta(config).init(key, jnp.zeros(shape, jnp.int32), jnp.ones(shape, bool))["params"])


def apply(
    config: RobertaConfig,
    params: Mapping[str, Any],
    token_ids: Int[Array, "batch length"],
    mask: Bool[Array, "batch length"],
) -> Float[Array, "batch hidden"]:
    """Returns the pooled first token. Pure and jit-able; float32 products on every platform.

    Args:
      config: shape of the encoder.
      params: as `init` or `roberta_weights.parameters` return them.
      token_ids: at most `config.max_tokens` columns of tokens.
      mask: true where there is a token, false where there is padding.
    """
    # Accelerators multiply in bfloat16 or TF32 by default; conditions are to be the same everywhere.
    with jax.default_matmul_precision("highest"):
        return Roberta(config).apply({"params": params}, token_ids, mask)  # pyright: ignore[reportReturnType]
