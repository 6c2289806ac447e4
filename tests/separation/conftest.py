import pytest
import separation_models


@pytest.fixture(scope="session")
def model():
    return separation_models.random_model()


@pytest.fixture
def tower(monkeypatch, model):
    """The model's query encoder, with an empty cache."""
    forget(model)
    yield separation_models.register(monkeypatch, separation_models.LetterCounts())
    forget(model)


@pytest.fixture
def senses(monkeypatch, model):
    """A query encoder of sounds and images, instead of the model's."""
    forget(model)
    yield separation_models.register(monkeypatch, separation_models.Senses())
    forget(model)


def forget(model):
    model.__dict__.pop("_conditions", None)
