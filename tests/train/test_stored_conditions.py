"""A run reads conditions from its datasets, and only computes missing ones."""

import warnings

import pytest
import training_runs

from audiosep_jax.encoders import condition_files
from audiosep_jax.train import mesh as meshes
from audiosep_jax.train.setup import open_data
from audiosep_jax.train.workdir import Workdir


@pytest.fixture
def asked(monkeypatch):
    """The captions that the tower encodes."""
    captions = []
    encode = training_runs.LetterEncoder.encode

    def noted(self, texts):
        captions.extend(texts)
        return encode(self, texts)

    monkeypatch.setattr(training_runs.LetterEncoder, "encode", noted)
    return captions


def opened(dataset, workdir):
    config = training_runs.experiment(dataset)
    open_data(config, Workdir(workdir), meshes.make_mesh())
    return sorted(path.name for path in workdir.glob("conditions-*"))


def test_a_run_reads_the_conditions_of_a_dataset(tmp_path, letters, asked):
    dataset = training_runs.write_dataset(tmp_path)
    captions = list(training_runs.CAPTIONS.values())
    condition_files.store(dataset, training_runs.LetterEncoder(), captions[:2])
    asked.clear()
    assert len(opened(dataset, tmp_path / "one")) == 1
    assert asked == captions[2:]
    condition_files.store(dataset, training_runs.LetterEncoder(), captions)
    asked.clear()
    assert opened(dataset, tmp_path / "two") == []
    assert asked == []


def test_conditions_of_another_tower_are_named_and_not_used(tmp_path, letters, asked):
    dataset = training_runs.write_dataset(tmp_path)
    captions = list(training_runs.CAPTIONS.values())
    condition_files.store(dataset, training_runs.HearingLetters(), captions)
    asked.clear()
    with pytest.warns(UserWarning, match=r"is of another tower and is not used: prepare .*dataset with this"):
        opened(dataset, tmp_path / "one")
    assert sorted(asked) == sorted(captions)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        asked.clear()
        opened(dataset, tmp_path / "one")
    assert asked == []
