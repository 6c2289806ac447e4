"""The two commands of `experiments.open_gpu`."""

import sys

import pytest
import training_runs

from audiosep_jax.checkpoints import folder
from audiosep_jax.encoders import base
from data_pipelines.mixtures import sound_pack
from experiments import open_gpu

SMALL = [
    "query.encoder=letters",
    f"model.condition_size={len(training_runs.LETTERS)}",
    "model.sample_rate_hz=8000",
    "model.window_length=64",
    "model.hop_length=32",
    "model.patch_bins=2",
    "model.encoder_widths=[4,4]",
]
TRAIN = [
    "train.batch_size=4",
    "mixture.segment_seconds=0.25",
    "mixture.sources=2",
    "mixture.fewest_sources=0",
    "mixture.absent_probability=0",
    "augment.low_pass_range_hz=[500,3000]",
    "data.weights=[]",
    "optimizer.kind=adamw_amsgrad",  # Optax's Adam does not know the tests' strict promotion
]


def run(monkeypatch, *arguments):
    monkeypatch.setitem(base.ENCODERS, "letters", "training_runs")
    monkeypatch.setattr(sys, "argv", ["open_gpu", *map(str, arguments)])
    return open_gpu.main()


def test_pack_and_train(tmp_path, monkeypatch, capsys):
    sounds = training_runs.write_dataset(tmp_path)
    place = tmp_path / "small.pack"
    options = ["--datasets", sounds, "--validation", sounds, "--out", place]
    assert run(monkeypatch, "pack", *options, "--set", *SMALL, "train.validation_mixtures=4") == 0
    said = capsys.readouterr().out.splitlines()[-1]
    assert said.startswith(f"{place}: 0.")
    assert "9 of 9 clips" in said
    assert "no label is limited" in said
    assert sound_pack.read(place).count == 9
    workdir = tmp_path / "run"
    train = ["train", place, "--minutes", "0.01", "--workdir", workdir, "--set", *SMALL, *TRAIN]
    assert run(monkeypatch, *train) == 0
    assert f"the model is in {workdir / 'checkpoint'}" in capsys.readouterr().out
    assert folder.load(workdir / "checkpoint").config.name == "audiosep-open-gpu"


def test_errors_are_one_sentence(tmp_path, monkeypatch, capsys):
    arguments = ["train", tmp_path / "none.pack", "--minutes", "1", "--workdir", tmp_path / "run"]
    assert run(monkeypatch, *arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("open_gpu: error: ")
    assert "make the pack again" in error
    with pytest.raises(SystemExit):
        run(monkeypatch, "train")
