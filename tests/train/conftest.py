from pathlib import Path

import pytest
import training_runs


@pytest.fixture(scope="session")
def sounds(tmp_path_factory) -> Path:
    """A prepared dataset of nine clips."""
    return training_runs.write_dataset(tmp_path_factory.mktemp("sounds"))


@pytest.fixture
def letters(monkeypatch):
    """Registers the query encoder of the small runs."""
    from audiosep_jax.encoders import base

    monkeypatch.setitem(base.ENCODERS, "letters", "training_runs")
