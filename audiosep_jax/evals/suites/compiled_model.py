"""A separator in the form that a benchmark runs: compiled for rows of any length."""

import functools
from collections.abc import Sequence

import jax
import numpy as np

from audiosep_jax.audio.levels import row_gains
from audiosep_jax.config import ExperimentConfig
from audiosep_jax.encoders.base import fingerprint, load_encoder
from audiosep_jax.evals.suites.mixtures import Mixture
from audiosep_jax.evals.suites.runner import Model
from audiosep_jax.models import separator
from audiosep_jax.models.inference import ragged


def make_model(config: ExperimentConfig, variables: separator.Variables) -> tuple[Model, str]:
    """Returns a model that separates every length exactly, and its fingerprint.

    Raises:
      EncoderError: the config names no query encoder, or its weights cannot be found.
    """
    on_device = jax.device_put(variables)
    compiled = jax.jit(functools.partial(ragged.apply, config.model))
    encoder = load_encoder(config.query)
    # All that a result depends on: the model's shape, its weights, and how a query becomes a condition.
    checkpoint = fingerprint((config.model,), tokenizer_hash=encoder.fingerprint, params=variables)
    level_db = config.model.working_level_db

    def apply(mixture: np.ndarray, condition: np.ndarray, lengths: np.ndarray) -> np.ndarray | jax.Array:
        gains = np.float32(1)
        if level_db is not None:
            rows = [row[:length] for row, length in zip(mixture, lengths, strict=True)]
            rate = config.model.sample_rate_hz
            gains = row_gains(rows, sample_rate_hz=rate, working_level_db=level_db)
        estimate = compiled(on_device, *jax.device_put((mixture * gains, condition, lengths)))
        return estimate if level_db is None else np.asarray(estimate) / gains

    model = Model(
        apply=apply,
        encode=encoder.encode,
        row_samples=functools.partial(ragged.batch_samples, config.model),
        sample_rate_hz=config.model.sample_rate_hz,
    )
    return model, checkpoint


def default_batch_size(mixtures: Sequence[Mixture]) -> int:
    """Returns how many rows are separated together by default."""
    # A CPU gains nothing from several rows; the queries of one mixture share one reading of its file.
    return max(len(mixture.queries) for mixture in mixtures) if jax.default_backend() == "cpu" else 16
