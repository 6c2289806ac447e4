"""The interface of query towers, and the registry that finds one by name."""

import importlib
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from audiosep_jax.config import QueryConfig
from audiosep_jax.errors import AudioSepError

# Name in `QueryConfig.encoder` -> module with a function `load(source: str) -> QueryEncoder`. Modules rather
# than functions: a tower and its tokenizer are imported only when it is the one that is asked for.
ENCODERS = {"sentence": "audiosep_jax.query.sentence"}


@runtime_checkable
class QueryEncoder(Protocol):
    """A frozen tower: text in, condition out."""

    @property
    def condition_size(self) -> int:
        """Length of a condition."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hash of weights, tokenizer and settings: conditions are comparable only where it is the same."""
        ...

    def encode(self, texts: Sequence[str]) -> Float[np.ndarray, "n size"]:
        """Returns one float32 condition per text, in the order of the texts.

        Raises:
          AudioSepError: a text is empty or cannot be tokenised.
        """
        ...


def load_encoder(config: QueryConfig) -> QueryEncoder:
    """Loads the tower that a config names.

    Raises:
      AudioSepError: the config names no tower, an unknown one, or one whose weights cannot be found or read.
    """
    if config.encoder == "none":
        raise AudioSepError(
            'This model has no query encoder (query.encoder is "none"): give the condition as a vector, '
            f"or set query.encoder to one of {', '.join(ENCODERS)}."
        )
    if config.encoder not in ENCODERS:
        raise AudioSepError(
            f"query.encoder is {config.encoder!r}: choose one of {', '.join(ENCODERS)}, "
            'or "none" for conditions that are given as vectors.'
        )
    return importlib.import_module(ENCODERS[config.encoder]).load(config.source)
