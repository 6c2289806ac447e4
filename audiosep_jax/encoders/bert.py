"""BERT in Flax Linen: `apply` and its tensors' names; also what every transformer tower shares."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from audiosep_jax.encoders import model_files, tensor_mapping
from audiosep_jax.encoders.tensor_mapping import dense, embedding, norm, stack
from audiosep_jax.errors import AudioSepError, EncoderError, listed
from audiosep_jax.utils.serialization import from_dict

# transformers' "gelu" is exact, with the error function; "new" and "tanh" are approximations.
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": functools.partial(jax.nn.gelu, approximate=False),
    "gelu_new": functools.partial(jax.nn.gelu, approximate=True),
    "gelu_pytorch_tanh": functools.partial(jax.nn.gelu, approximate=True),
    "quick_gelu": lambda x: x * jax.nn.sigmoid(1.702 * x),
    "relu": jax.nn.relu,
    "silu": jax.nn.silu,
    "tanh": jnp.tanh,
}

# Tensors of a transformers BERT that no hidden state depends on.
UNUSED_TENSORS = ("embeddings.position_ids", "pooler.dense.weight", "pooler.dense.bias")


@dataclasses.dataclass(frozen=True, kw_only=True)
class BertConfig:
    """Shape of a BERT encoder; fields are named as in transformers' `config.json`."""

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int
    type_vocab_size: int
    hidden_act: str
    layer_norm_eps: float

    def __post_init__(self) -> None:
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(BertConfig)}
        numbers = {name: value for name, value in fields.items() if not isinstance(value, str)}
        if min(numbers.values()) <= 0:
            raise EncoderError(f"all of {numbers} must be positive.")
        check_layers(self.hidden_size, self.num_attention_heads, self.hidden_act)


def check_layers(hidden_size: int, num_attention_heads: int, hidden_act: str) -> None:
    """Raises an `EncoderError` if the heads do not divide the hidden size, or for an unknown activation."""
    if hidden_size % num_attention_heads:
        raise EncoderError(
            f"hidden_size is {hidden_size}: it must be a multiple of num_attention_heads "
            f"({num_attention_heads})."
        )
    check_activation(hidden_act)


def check_activation(name: str, *, field: str = "hidden_act") -> None:
    """Raises an `EncoderError` if an activation is not implemented; the message names the field."""
    if name not in ACTIVATIONS:
        raise EncoderError(f"{field} is {name!r}: only {', '.join(ACTIVATIONS)} are implemented.")


def unit_rows(rows: Float[Array, "batch size"]) -> Float[Array, "batch size"]:
    """Returns each row divided by its length; a row of zeros stays."""
    return rows / jnp.maximum(jnp.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def load_config(path: str | Path) -> BertConfig:
    """Reads a transformers `config.json`.

    Raises:
      EncoderError: the file is missing or broken, describes another architecture, or lacks a field.
    """
    path = Path(path)
    values = model_files.read_json(path)
    if values.get("model_type") != "bert":
        raise EncoderError(f'{path} has model_type {values.get("model_type")!r}: "bert" is needed.')
    if values.get("position_embedding_type", "absolute") != "absolute":
        raise EncoderError(
            f"{path} has position_embedding_type {values['position_embedding_type']!r}: "
            'only "absolute" is implemented.'
        )
    names = [field.name for field in dataclasses.fields(BertConfig)]
    missing = [name for name in names if name not in values]
    if missing:
        raise EncoderError(f"{path} lacks {listed(missing)}: a BERT needs them; download the model again.")
    try:
        return from_dict(
            BertConfig, {name: values[name] for name in names}, where=str(path), kind=EncoderError
        )
    except AudioSepError as error:
        raise EncoderError(f"{path} describes no usable BERT: {error}") from None


class BertLayer(nn.Module):
    """One transformer block, normalized after each residual sum."""

    config: BertConfig

    @nn.compact
    def __call__(
        self, hidden: Float[Array, "batch length hidden"], bias: Float[Array, "batch 1 1 length"]
    ) -> tuple[Float[Array, "batch length hidden"], None]:
        """Returns the next hidden states, in the (carry, output) form of `nn.scan`."""
        config = self.config
        batch, length, size = hidden.shape
        heads = (batch, length, config.num_attention_heads, size // config.num_attention_heads)
        layer_norm = functools.partial(nn.LayerNorm, epsilon=config.layer_norm_eps, use_fast_variance=False)

        query = nn.Dense(size, name="query")(hidden).reshape(heads)
        key = nn.Dense(size, name="key")(hidden).reshape(heads)
        value = nn.Dense(size, name="value")(hidden).reshape(heads)
        scores = jnp.einsum("bqhd,bkhd->bhqk", query, key) / np.float32(np.sqrt(heads[-1]))
        attention = jax.nn.softmax(scores + bias, axis=-1)
        attended = jnp.einsum("bhqk,bkhd->bqhd", attention, value).reshape(hidden.shape)
        attended = nn.Dense(size, name="attention_output")(attended)
        hidden = layer_norm(name="attention_norm")(hidden + attended)

        inner = nn.Dense(config.intermediate_size, name="intermediate")(hidden)
        inner = ACTIVATIONS[config.hidden_act](inner)
        inner = nn.Dense(size, name="output")(inner)
        return layer_norm(name="output_norm")(hidden + inner), None


class Bert(nn.Module):
    """The encoder of "BERT: Pre-training of Deep Bidirectional Transformers" (arXiv 1810.04805).

    It is frozen, so there is no dropout. Every text is one segment: it takes the first row of the token-type
    table.
    """

    config: BertConfig

    @nn.compact
    def __call__(
        self,
        token_ids: Int[Array, "batch length"],
        mask: Bool[Array, "batch length"],
        positions: Int[Array, "rows length"] | None = None,
    ) -> Float[Array, "batch length hidden"]:
        """Returns the last hidden states; no position attends to one where `mask` is false.

        `positions` are rows of the position table, one per token or the same for all texts; by default
        0, 1, 2, ….
        """
        config = self.config
        if positions is None:
            positions = jnp.arange(token_ids.shape[1])[None]
        words = nn.Embed(config.vocab_size, config.hidden_size, name="words")(token_ids)
        places = nn.Embed(config.max_position_embeddings, config.hidden_size, name="positions")(positions)
        types = nn.Embed(config.type_vocab_size, config.hidden_size, name="types")(
            jnp.zeros((1, 1), jnp.int32)
        )
        hidden = nn.LayerNorm(epsilon=config.layer_norm_eps, use_fast_variance=False, name="norm")(
            words + places + types
        )
        bias = jnp.where(mask, 0.0, jnp.finfo(jnp.float32).min)[:, None, None, :]
        # A scan compiles one layer instead of all: the first query of a process waits for the compiler.
        layers = nn.scan(
            BertLayer,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=nn.broadcast,  # pyright: ignore[reportArgumentType]
            length=config.num_hidden_layers,
        )
        hidden, _ = layers(config, name="layers")(hidden, bias)
        return hidden


def apply(
    config: BertConfig,
    params: Mapping[str, Any],
    token_ids: Int[Array, "batch length"],
    mask: Bool[Array, "batch length"],
) -> Float[Array, "batch length hidden"]:
    """Returns the last hidden states. Pure and jit-able; float32 products on every platform.

    `token_ids` have at most `max_position_embeddings` columns; `mask` is true where there is a token, false
    where there is padding.
    """
    # Accelerators multiply in bfloat16 or TF32 by default; conditions must be the same everywhere.
    with jax.default_matmul_precision("highest"):
        return Bert(config).apply({"params": params}, token_ids, mask)  # pyright: ignore[reportReturnType]


def parameters(
    config: BertConfig, tensors: Mapping[str, np.ndarray], *, where: str = "tensors"
) -> dict[str, Any]:
    """Rearranges the tensors of a transformers BERT into the parameters of `Bert`.

    Raises:
      EncoderError: tensors are missing, unmapped or mis-shaped; the text names the place, `where`.
    """
    return tensor_mapping.parameters(tree(config), tensors, what="BERT", where=where, unused=UNUSED_TENSORS)


def tree(config: BertConfig, *, prefix: str = "") -> dict[str, Any]:
    """Returns the tensor of each parameter, as `tensor_mapping.parameters` takes them, after `prefix`.

    Written out, because tracing `init` for the shapes takes a third of a second at the first query.
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
