"""Runs on recipes with several sources, a ratio and rules; runs from before these fields."""

import dataclasses
import json

import jax
import numpy as np
import pytest
import training_runs

from audiosep_jax.config import ExperimentConfig, MixtureConfig
from audiosep_jax.errors import AudioSepError
from audiosep_jax.train import loop, setup
from audiosep_jax.train import mesh as meshes
from audiosep_jax.train.run_config import refuse_other_runs
from audiosep_jax.train.step import batch_like
from audiosep_jax.train.workdir import Workdir
from audiosep_jax.utils.serialization import to_dict

OLD_FIELDS = ("sources", "gain_range_db", "segment_seconds", "absent_probability", "level_range_db")


def before():
    """The config in a checkpoint from before the newer fields of recipes."""
    was = to_dict(ExperimentConfig(mixture=MixtureConfig(sources=3)))
    was["mixture"] = {name: was["mixture"][name] for name in OLD_FIELDS}
    return was


def test_a_run_from_before_these_fields_resumes(tmp_path):
    refuse_other_runs(tmp_path, was=before(), config=ExperimentConfig(mixture=MixtureConfig(sources=3)))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"fewest_sources": 2}, "mixture.fewest_sources was 0 and is 2"),
        ({"snr_range_db": (-1.0, 1.0)}, r"mixture.snr_range_db was \[\] and is \[-1.0, 1.0\]"),
        ({"collisions": ()}, r"mixture.collisions was \['caption', 'label'\] and is \[\]"),
        ({"interferers": "neighbours"}, "mixture.interferers was 'drawn' and is 'neighbours'"),
    ],
)
def test_a_run_does_not_resume_with_another_recipe(tmp_path, changed, said):
    config = ExperimentConfig(mixture=MixtureConfig(sources=3, **changed))
    with pytest.raises(AudioSepError, match=said):
        refuse_other_runs(tmp_path, was=before(), config=config)


def on_many_rules(dataset):
    config = training_runs.experiment(dataset, steps=2)
    recipe = dataclasses.replace(
        config.mixture,
        sources=3,
        fewest_sources=2,
        snr_range_db=(-15.0, 15.0),
        collisions=("caption", "label", "similarity"),
        similarity=0.95,
    )
    return dataclasses.replace(config, mixture=recipe)


def test_the_step_takes_the_arrays_of_the_pipeline(sounds, letters, tmp_path):
    config, mesh = on_many_rules(sounds), meshes.make_mesh()
    pipeline, _ = setup.open_data(config, Workdir(tmp_path), mesh)
    batch = next(iter(pipeline.batches(stop_step=1)))
    expected = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), batch_like(config, mesh))
    assert {name: (array.shape, array.dtype) for name, array in batch.arrays.items()} == expected
    assert "snr_db" in expected
    assert "snr_db" not in batch_like(training_runs.experiment(sounds), mesh)


@pytest.mark.slow
def test_a_run_on_many_rules_at_once(sounds, letters, tmp_path):
    loop.train(on_many_rules(sounds), tmp_path / "run")
    lines = (tmp_path / "run" / "metrics.jsonl").read_text("utf-8").splitlines()
    losses = [json.loads(line)["loss"] for line in lines]
    assert len(losses) == 2
    assert np.isfinite(losses).all()
