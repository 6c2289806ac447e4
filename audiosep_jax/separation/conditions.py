"""Queries as conditions: a model's query encoder, which encodes every sentence once."""

import functools
import itertools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32

from audiosep_jax.config import ExperimentConfig
from audiosep_jax.encoders.base import QueryEncoder, load_encoder, mean_condition
from audiosep_jax.errors import EncoderError
from audiosep_jax.separation.checks import checked_condition
from audiosep_jax.separation.example_queries import audio_condition, images_condition
from audiosep_jax.separation.queries import Query


class Conditions:
    """Computes the conditions of queries. The encoder is loaded when a query first needs it."""

    def __init__(self, config: ExperimentConfig) -> None:
        self._config = config
        self._of_sentences: dict[str, np.ndarray] = {}

    @functools.cached_property
    def encoder(self) -> QueryEncoder:
        """The model's query encoder.

        Raises:
          AudioSepError: it cannot be loaded, or does not fit the model.
        """
        name, size = self._config.query.encoder, self._config.model.condition_size
        encoder = load_encoder(self._config.query)
        if encoder.condition_size != size:
            raise EncoderError(
                f"The query encoder {name!r} gives {encoder.condition_size} numbers, but the model needs "
                f"{size}: use the encoder of its training."
            )
        return encoder

    def condition(self, query: Query) -> Float32[np.ndarray, " size"]:
        """Returns the mean of a query's parts, without its negatives.

        Raises:
          AudioSepError: a part cannot be read or encoded, or the parts cancel each other out.
        """
        sentences = dict.fromkeys(itertools.chain.from_iterable(query.wordings))
        if unknown := [text for text in sentences if text not in self._of_sentences]:
            self._of_sentences.update(zip(unknown, self.encoder.encode(unknown), strict=True))
        rows = [_mean([self._of_sentences[text] for text in wordings]) for wordings in query.wordings]
        name = self._config.query.encoder
        if query.audio is not None:
            rows.append(audio_condition(self.encoder, query.audio, name=name))
        if query.images is not None:
            rows.append(images_condition(self.encoder, query.images, name=name))
        if query.condition is not None:
            rows.append(checked_condition(query.condition, self._config.model.condition_size))
        return _mean(rows, query.weights)


def _mean(rows: Sequence[np.ndarray], weights: Sequence[float] | None = None) -> np.ndarray:
    # A single condition keeps its bits: scaling it to unit length could change the last one.
    return rows[0] if len(rows) == 1 else mean_condition(np.stack(rows), weights)
