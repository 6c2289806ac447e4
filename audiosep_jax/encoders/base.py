"""The interface of query encoders, the registry that finds one by name, and their fingerprint."""

import hashlib
import importlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from audiosep_jax.config import QueryConfig
from audiosep_jax.errors import ConfigError, QueryError

# Name in `QueryConfig.encoder` -> module with a function `load(source: str) -> QueryEncoder`. Modules, not
# functions, so that only the encoder in use is imported.
ENCODERS = {
    "sentence": "audiosep_jax.encoders.sentence.encoder",
    "clip": "audiosep_jax.encoders.clip.encoder",
    "clap": "audiosep_jax.encoders.clap.encoder",
}

# A condition whose length is this far from one is not of unit length.
_UNIT_TOLERANCE = 1e-3


@runtime_checkable
class QueryEncoder(Protocol):
    """A frozen encoder: text in, condition out."""

    @property
    def condition_size(self) -> int:
        """Length of a condition."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hash of weights, tokenizer and settings; only conditions with the same one are comparable."""
        ...

    def encode(self, texts: Sequence[str]) -> Float[np.ndarray, "n size"]:
        """Returns one float32 condition per text, in the order of the texts.

        Raises:
          QueryError: a text is empty or cannot be tokenized.
        """
        ...


@runtime_checkable
class AudioQueryEncoder(Protocol):
    """An encoder that also takes a sound as the query."""

    def encode_audio(
        self, waveforms: Sequence[np.ndarray], *, sample_rate_hz: int
    ) -> Float[np.ndarray, "n size"]:
        """Returns one float32 unit vector per waveform, in their order.

        Args:
          waveforms: float32 [samples] each, of any lengths.
          sample_rate_hz: of all of them.

        Raises:
          QueryError: a waveform is empty, has another shape, or holds numbers that are not finite.
        """
        ...


@runtime_checkable
class ImageQueryEncoder(Protocol):
    """An encoder that also takes a picture as the query."""

    def encode_images(self, images: Sequence[np.ndarray]) -> Float[np.ndarray, "n size"]:
        """Returns one float32 unit vector per image, in their order.

        Args:
          images: uint8 [height, width, 3] each, red, green and blue, of any sizes.

        Raises:
          QueryError: an image has another type or shape.
        """
        ...


def mean_condition(
    rows: Float[np.ndarray, "n size"], weights: Sequence[float | int] | None = None
) -> Float[np.ndarray, " size"]:
    """Returns the mean of conditions that describe the same sound: frames of a clip, several sentences.

    The mean is of unit length if all conditions are.

    Args:
      rows: `[n, size]`, one condition each.
      weights: positive, one per condition; None weighs all alike.

    Raises:
      QueryError: there are no conditions, or they cancel each other out.
    """
    if not len(rows):
        raise QueryError("There is nothing to take the mean of: give at least one query.")
    rows = rows.astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1)
    mean = np.average(rows, axis=0, weights=weights)
    length = np.linalg.norm(mean)
    if not length > 1e-6 * lengths.max():
        raise QueryError("The parts of a query cancel each other out: give fewer, or parts that agree.")
    unit = np.abs(lengths - 1).max() < _UNIT_TOLERANCE
    return np.asarray(mean / length if unit else mean, np.float32)


def load_encoder(config: QueryConfig) -> QueryEncoder:
    """Loads the encoder that a config names.

    Raises:
      QueryError: the config names no encoder.
      ConfigError: the config names an unknown encoder.
      EncoderError: the encoder's weights cannot be found or read.
    """
    if config.encoder == "none":
        raise QueryError(
            'This model has no query encoder (query.encoder is "none"): give the condition as a vector, '
            f"or set query.encoder to one of {', '.join(ENCODERS)}."
        )
    if config.encoder not in ENCODERS:
        raise ConfigError(
            f"query.encoder is {config.encoder!r}: choose one of {', '.join(ENCODERS)}, "
            'or "none" to give conditions as vectors.'
        )
    return importlib.import_module(ENCODERS[config.encoder]).load(config.source)


def fingerprint(settings: tuple[Any, ...], *, tokenizer_hash: str, params: Mapping[str, Any]) -> str:
    """Returns the SHA-256 over everything that a condition depends on.

    Args:
      settings: the encoder's name, its config and all else that changes a condition; hashed by `repr`.
      tokenizer_hash: as `tokenizer.load_tokenizer` returns it.
      params: the tree of weights.
    """
    import jax  # here, because commands without an encoder import this module, too

    digest = hashlib.sha256(repr(settings).encode())
    digest.update(tokenizer_hash.encode())
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        digest.update(jax.tree_util.keystr(path).encode())
        digest.update(np.ascontiguousarray(jax.device_get(leaf)).data)
    return digest.hexdigest()
