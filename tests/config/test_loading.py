"""Experiment files: what they may import, and what is restored after they ran."""

import sys

from audiosep_jax.config.loading import load_experiment

BASE = "from audiosep_jax.config import ExperimentConfig, TrainConfig\n"


def test_a_file_of_a_package_imports_its_neighbours_from_anywhere(tmp_path, monkeypatch):
    package = tmp_path / "studies_of_loading" / "ablations"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").write_text("")
    (package.parent / "base.py").write_text(f"{BASE}CONFIG = ExperimentConfig(train=TrainConfig(steps=7))\n")
    file = package / "one.py"
    file.write_text("from studies_of_loading.base import CONFIG\n")
    monkeypatch.chdir(tmp_path.parent)
    before = list(sys.path)
    assert load_experiment(file).train.steps == 7
    assert sys.path == before


def test_a_file_alone_needs_no_package(tmp_path):
    file = tmp_path / "one.py"
    file.write_text(f"{BASE}CONFIG = ExperimentConfig(train=TrainConfig(steps=3))\n")
    assert load_experiment(file).train.steps == 3
