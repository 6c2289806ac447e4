import pytest
import separation_models


@pytest.fixture(scope="session")
def model():
    return separation_models.random_model()


@pytest.fixture
def tower(monkeypatch, model):
    """The model's query encoder, as if it had never been asked."""
    for cached in ("_encoder", "_conditions"):
        model.__dict__.pop(cached, None)
    return separation_models.register_letter_counts(monkeypatch)
