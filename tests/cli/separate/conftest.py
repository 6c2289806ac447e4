import pytest
import separation_models

import audiosep_jax
from audiosep_jax.separation.estimator import Estimator


@pytest.fixture(scope="session")
def model():
    return separation_models.random_model()


@pytest.fixture
def ready(monkeypatch, model, tmp_path):
    """The random model instead of the bundled one, and an empty current folder."""
    model.__dict__.pop("_conditions", None)
    separation_models.register(monkeypatch, separation_models.LetterCounts())
    monkeypatch.setattr(audiosep_jax, "load", lambda checkpoint: model)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def uncompiled(ready, monkeypatch):
    """The same, with a model that returns half of its input and needs no compiler."""
    monkeypatch.setattr(Estimator, "process", separation_models.halved)
    return ready
