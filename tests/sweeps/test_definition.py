"""Sweeps as data: cells, names and hashes, and invalid ones."""

import dataclasses
import importlib
import pkgutil
from pathlib import Path

import pytest
import sweep_folders

from audiosep_jax.config import DataConfig, ExperimentConfig, MixtureConfig, ModelConfig, TrainConfig
from audiosep_jax.errors import AudioSepError
from audiosep_jax.sweeps import workdir
from audiosep_jax.sweeps.definition import load_sweep, product, with_fields
from audiosep_jax.sweeps.runs import identity, runs_of
from audiosep_jax.train.final_models import FINAL
from experiments import ablations, tiny

FILES = [module.name for module in pkgutil.iter_modules(ablations.__path__)]


def test_the_name_of_a_config_never_changes():
    # Folders of finished runs have this name: after a change, users would train everything again.
    assert identity(ExperimentConfig()) == "44136fa355"
    model = ModelConfig(window_length=1024, encoder_widths=(4, 8), magnitude_power=0.3)
    config = ExperimentConfig(model=model, train=TrainConfig(steps=10, seed=2), data=DataConfig(seed=2))
    assert identity(config) == "6fe657bf05"


def test_fields_that_may_change_when_resuming_do_not_rename_a_run():
    config = ExperimentConfig(train=TrainConfig(steps=10))
    other = with_fields(
        config,
        {"train.log_every": 7, "data.read_threads": 0, "mesh.fsdp": 2, "execution.remat": "blocks"},
        where="here",
    )
    assert identity(dataclasses.replace(other, name="another")) == identity(config)


@pytest.mark.parametrize(
    "changes",
    [
        {"train.steps": 11},
        {"train.seed": 1},
        {"data.seed": 1},
        {"data.datasets": ["a"]},
        {"model.film": "scale_shift"},
        {"execution.compute": "bfloat16"},
    ],
)
def test_fields_that_change_the_result_rename_a_run(changes):
    config = ExperimentConfig(train=TrainConfig(steps=10))
    assert identity(with_fields(config, changes, where="here")) != identity(config)


def test_an_integer_for_a_float_is_the_same_run():
    whole, real = (ExperimentConfig(mixture=MixtureConfig(segment_seconds=value)) for value in (2, 2.0))
    changes = {"train.seed": 1}
    assert identity(with_fields(whole, changes, where="")) == identity(with_fields(real, changes, where=""))


def test_a_cell_changes_its_fields_and_the_seed_two(tmp_path):
    sweep = dataclasses.replace(
        sweep_folders.small_sweep(tmp_path, "base"),
        cells={
            "base": {},
            "wide": {"model.encoder_widths": (8, 16), "model.hop_length": 16, "model.window_length": 64},
        },
        seeds=(3, 4),
    )
    runs = runs_of(sweep, tmp_path)
    assert [(run.cell, run.seed) for run in runs] == [("base", 3), ("wide", 3), ("base", 4), ("wide", 4)]
    wide = runs[3].config
    assert (wide.model.encoder_widths, wide.model.window_length) == ((8, 16), 64)
    assert (wide.train.seed, wide.data.seed, wide.train.steps) == (4, 4, 2)
    assert len({run.folder for run in runs}) == 4
    assert sweep.compared_with == "base"


def test_product_makes_a_cell_of_every_combination():
    cells = product({"model.encoder_widths": ((4, 8), (8, 16)), "train.loss": ("l1", "snr")})
    assert list(cells) == [
        "encoder_widths=4-8,loss=l1",
        "encoder_widths=4-8,loss=snr",
        "encoder_widths=8-16,loss=l1",
        "encoder_widths=8-16,loss=snr",
    ]
    assert cells["encoder_widths=4-8,loss=snr"] == {"model.encoder_widths": (4, 8), "train.loss": "snr"}


def test_product_keeps_signs_and_drops_no_cell(tmp_path):
    cells = product({"train.learning_rate": (-1, 1), "mixture.snr_range_db": ((-5, 5), (5, 5))})
    assert list(cells) == [
        "learning_rate=-1,snr_range_db=-5-5",
        "learning_rate=-1,snr_range_db=5-5",
        "learning_rate=1,snr_range_db=-5-5",
        "learning_rate=1,snr_range_db=5-5",
    ]
    dataclasses.replace(sweep_folders.small_sweep(tmp_path, "base"), cells=cells)  # names of folders
    assert list(product({"data.datasets": (["/data/a:train"],)})) == ["datasets=data-a-train"]
    with pytest.raises(AudioSepError, match=r"would both be the cell datasets=data-a-train: write the cells"):
        product({"data.datasets": (["data/a:train"], ["data-a:train"])})


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ({}, "has no cells"),
        ({"a/b": {}}, "the name a/b cannot be that of a folder"),
        ({"..": {}}, "cannot be that of a folder"),
        ({"a": {"model.windows": 3}}, "sweep small, cell a: the config has no field model.windows."),
        ({"a": {"model": 3}}, "cell a: config.model must be a JSON object"),
        ({"a": {"model.film.kind": 3}}, "no field model.film.kind"),
        ({"a": {"model.film": "scale"}}, "cell a: config.model.film is 'scale': choose one of shift"),
        ({"a": {"train.steps": 0}}, "cell a: train.steps is 0"),
        ({"a": {"train.steps": {1, 2}}}, "which JSON cannot hold"),
        ({"a": {"data.seed": 1}}, "changes data.seed, which the sweep's seeds set"),
        ({"a": {}, "b": {"train.loss": "l1"}}, "the cells a and b have the same config: remove"),
    ],
)
def test_invalid_cells_are_refused(tmp_path, cells, said):
    sweep = sweep_folders.small_sweep(tmp_path, "base")
    with pytest.raises(AudioSepError, match=said.replace(".", r"\.")):
        runs_of(dataclasses.replace(sweep, cells=cells), tmp_path)


@pytest.mark.parametrize("seeds", [(), (0, 0), (-1,)])
def test_invalid_seeds_are_refused(tmp_path, seeds):
    with pytest.raises(AudioSepError, match="give one or more different whole numbers"):
        dataclasses.replace(sweep_folders.small_sweep(tmp_path, "base"), seeds=seeds)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "does not exist: give a sweep file"),
        ("SWEEP = 3", "defines no SWEEP of type Sweep"),
        ("import nothing_of_that_name", "does not run: ModuleNotFoundError"),
        (
            "from audiosep_jax.config import TrainConfig\nTrainConfig(steps=0)",
            r"sweep\.py: train\.steps is 0",
        ),
    ],
)
def test_files_without_a_sweep_are_refused(tmp_path, text, said):
    path = tmp_path / "sweep.py"
    if text is not None:
        path.write_text(text)
    with pytest.raises(AudioSepError, match=said):
        load_sweep(path)


@pytest.mark.parametrize("name", FILES)
def test_every_ablation_is_complete(name, tmp_path):
    module = importlib.import_module(f"experiments.ablations.{name}")
    sweep = load_sweep(Path(str(module.__file__)))
    runs = runs_of(sweep, tmp_path)
    assert len(runs) == len(sweep.cells) * len(sweep.seeds) >= 6
    assert sweep.seeds == (0, 1, 2)
    assert dict(sweep.cells[sweep.compared_with]) == {}
    assert f"audiosep sweep experiments/ablations/{name}.py --workdir" in module.__doc__
    # Sets for development: no recipe is chosen on a test set.
    sets = ("esc10_fold4.json", "open_sounds_development.json")
    assert Path(sweep.evaluation.evaluation_set).name in sets
    assert (Path(__file__).parents[2] / sweep.evaluation.evaluation_set).is_file()
    assert all(path.startswith("data/") for path in (*runs[0].config.data.datasets, sweep.evaluation.root))


def test_every_ablation_exists():
    fields = {
        field
        for name in FILES
        for changes in importlib.import_module(f"experiments.ablations.{name}").SWEEP.cells.values()
        for field in changes
    }
    assert fields >= {
        "query.text_ratio",
        "query.encoder",
        "model.window_length",
        "model.encoder_widths",
        "model.film",
        "optimizer.kind",
        "train.loss",
        "mixture.sources",
        "mixture.collisions",
        "mixture.segment_seconds",
    }
    assert tiny.CONFIG.model.film == "scale_shift"  # a cell of the sweep changes this


def test_the_model_folder_is_that_of_a_training():
    assert workdir.MODEL == FINAL
