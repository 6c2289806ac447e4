"""The model of a benchmark: every row is heard at the working level, whatever else is in its batch."""

import dataclasses

import drawn_models
import numpy as np
import pytest
from benchmark_models import SMALL

from audiosep_jax.config import ExperimentConfig, QueryConfig
from audiosep_jax.encoders import base
from audiosep_jax.evals.suites.compiled_model import make_model


@pytest.fixture
def made(monkeypatch):
    monkeypatch.setitem(base.ENCODERS, "letters", "benchmark_models")

    def make(level_db):
        network = dataclasses.replace(SMALL, working_level_db=level_db)
        config = ExperimentConfig(model=network, query=QueryConfig(encoder="letters"))
        return make_model(config, drawn_models.drawn(network))

    return make


def test_rows_of_every_level_are_separated_alike(made):
    model, fingerprint = made(0.0)
    plain, other = made(None)
    assert fingerprint != other
    lengths = np.int32([16_000, 9_000])
    rows = np.zeros((2, model.row_samples(16_000)), np.float32)
    for row, length in zip(rows, lengths, strict=True):
        row[:length] = drawn_models.noise(length)
    condition = model.encode(["dog", "rain"])
    loud, quiet = (np.asarray(model.apply(g * rows, condition, lengths)) for g in np.float32([1, 0.001]))
    np.testing.assert_allclose(1000 * quiet, loud, atol=1e-4)
    assert np.abs(loud - plain.apply(rows, condition, lengths)).max() > 1e-3
    longer = np.pad(rows, ((0, 0), (0, model.row_samples(32_000) - rows.shape[1])))
    alone = np.asarray(model.apply(longer, condition, lengths))
    np.testing.assert_allclose(alone[1, :9_000], loud[1, :9_000], atol=1e-5)
