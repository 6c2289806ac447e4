"""Errors that stop a run: a loss that is not finite, and unusable inputs."""

import dataclasses
import json

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
import training_runs

from audiosep_jax.checkpoints import folder
from audiosep_jax.cli import main
from audiosep_jax.encoders import base
from audiosep_jax.errors import AudioSepError, listed
from audiosep_jax.models import separator
from audiosep_jax.train import loop
from data_pipelines.mixtures.pipeline import MixturePipeline

BAD_STEP = 5


@pytest.fixture(scope="module")
def stopped(sounds, tmp_path_factory):
    """Work directory and error of a run whose step 5 gets a batch with NaN; it saves before that step."""
    workdir = tmp_path_factory.mktemp("stopped")
    config = training_runs.experiment(sounds, steps=20, save_every=BAD_STEP)
    batches = MixturePipeline.batches

    def poison(batch):
        if batch.step == BAD_STEP:
            batch.segments[2, 0, 7] = np.nan
        return batch

    def poisoned(self, **options):
        return batches(self, **options).map(poison)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(base.ENCODERS, "letters", "training_runs")
        patch.setattr(MixturePipeline, "batches", poisoned)
        with pytest.raises(AudioSepError) as error:
            loop.train(config, workdir)
    return workdir, config, str(error.value)


def test_a_loss_that_is_not_finite_stops_with_step_and_files(stopped):
    workdir, _, said = stopped
    assert f"the loss of step {BAD_STEP} is not finite (loss nan, gradient norm nan)" in said
    assert f"the parameters before it and the batch are in {workdir / f'failed_step_{BAD_STEP}'}." in said
    record = json.loads((workdir / f"failed_step_{BAD_STEP}" / "batch.json").read_text("utf-8"))
    assert (record["step"], record["loss"]) == (BAD_STEP, "nan")
    assert len(record["examples"]) == 4
    for example in record["examples"]:
        assert example["caption"] in training_runs.CAPTIONS.values()
        assert example["modality"] == "text"
        assert len(example["files"]) == 2
    files = sorted({name for example in record["examples"] for name in example["files"]})
    assert f"its batch held {listed(files)}; " in said


def test_the_batch_is_kept(stopped):
    batch = np.load(stopped[0] / f"failed_step_{BAD_STEP}" / "batch.npz")
    assert set(batch) == {"segments", "gains_db", "level_db", "absent", "condition"}
    assert np.argwhere(np.isnan(batch["segments"])).tolist() == [[2, 0, 7]]


def test_the_saved_model_is_the_one_before_the_bad_batch(stopped):
    workdir, config, _ = stopped
    kept = folder.load(workdir / f"failed_step_{BAD_STEP}")
    assert kept.config == config
    saved = ocp.StandardCheckpointer().restore(workdir / "checkpoints" / str(BAD_STEP) / "state")
    for part in ("params", "batch_stats"):
        jax.tree.map(np.testing.assert_array_equal, kept.variables[part], saved[part])


def test_steps_before_the_bad_one_are_logged_and_none_after(stopped):
    lines = [json.loads(line) for line in (stopped[0] / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, BAD_STEP + 1))
    assert not any(name.startswith("share_") for name in lines[0])  # there is nothing but text


GOOD = "from audiosep_jax.config import ExperimentConfig\nCONFIG = ExperimentConfig()\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "does not exist: give an experiment file"),
        ("CONFIG = 3", "defines no CONFIG of type ExperimentConfig."),
        ("import nothing_of_this_name", "does not run: ModuleNotFoundError: No module named"),
        ("CONFIG = (", "does not run: SyntaxError"),
        (
            GOOD.replace("()", "(train=__import__('audiosep_jax.config').config.TrainConfig(steps=0))"),
            "train.steps is 0: it must be at least 1.",
        ),
    ],
    ids=["missing", "no CONFIG", "import", "syntax", "value"],
)
def test_an_unusable_experiment_file_is_named(tmp_path, text, said, capsys):
    path = tmp_path / "experiment.py"
    if text is not None:
        path.write_text(text)
    assert main.main(["train", str(path), "--workdir", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"audiosep: error: {path}")
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("train.steps", "has no '=': write FIELD=VALUE"),
        ("train.stepps=3", "the config has no field train.stepps"),
        ("trian.steps=3", "the config has no field trian.steps"),
        ("train.steps.x=3", "the config has no field train.steps.x"),
        ("train.steps=many", "train.steps is 'many': a value of type int is needed."),
        ("train.steps=1.5", "train.steps is 1.5: a value of type int is needed."),
        ("train.steps=true", "train.steps is True: a value of type int is needed."),
        ("train.steps=0", "train.steps is 0: it must be at least 1."),
        ("model.encoder_widths=3", "model.encoder_widths is 3: a list is needed."),
        ("train.loss=l2", "train.loss is 'l2': choose one of l1, snr."),
        ("train=5", "train must be a JSON object"),
    ],
)
def test_an_unusable_override_is_named(tmp_path, change, said, capsys):
    path = tmp_path / "experiment.py"
    path.write_text(GOOD)
    arguments = ["train", str(path), "--workdir", str(tmp_path / "run"), "--set", change]
    assert main.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("audiosep: error: ")
    assert said in error
    assert error.count("\n") == 1


def test_overrides_reach_the_run(tmp_path, monkeypatch):
    path = tmp_path / "experiment.py"
    path.write_text(GOOD)
    seen = []

    def train(config, workdir, *, resume):
        seen.append((config, workdir, resume))
        return loop.TrainResult(state=None, checkpoint=workdir, validation_sdri_db=None)

    monkeypatch.setattr(loop, "train", train)
    changes = ["train.steps=5", "query.encoder=sentence", "mixture.level_range_db=[-3, 2]"]
    assert main.main(["train", str(path), "--workdir", str(tmp_path), "--no-resume", "--set", *changes]) == 0
    ((config, workdir, resume),) = seen
    assert (workdir, resume) == (str(tmp_path), False)
    assert config.train.steps == 5
    assert config.query.encoder == "sentence"
    assert config.mixture.level_range_db == (-3.0, 2.0)


def changed(config, part, **values):
    return dataclasses.replace(config, **{part: dataclasses.replace(getattr(config, part), **values)})


@pytest.mark.parametrize(
    ("part", "values", "said"),
    [
        ("data", {"datasets": ()}, "data.datasets is empty"),
        ("data", {"datasets": ("nowhere",)}, "nowhere"),
        ("model", {"sample_rate_hz": 16_000}, "stored at 8000 Hz, the model works at 16000 Hz"),
        ("query", {"encoder": "none"}, "This model has no query encoder"),
        ("query", {"encoder": "words"}, "query.encoder is 'words'"),
        ("query", {"text_ratio": 0.5}, "query.text_ratio is 0.5, but the encoder 'letters' only takes text"),
        ("query", {"text_ratio": 0.5, "source": "see"}, "none of the 9 clips has frames"),
        ("model", {"condition_size": 30}, "30"),
        ("train", {"init_from": "nowhere"}, "nowhere is not a checkpoint folder"),
    ],
)
def test_an_experiment_that_cannot_run_is_refused_before_the_first_step(
    sounds, letters, tmp_path, part, values, said
):
    config = changed(training_runs.experiment(sounds), part, **values)
    with pytest.raises(AudioSepError) as error:
        loop.train(config, tmp_path / "run")
    assert said in str(error.value)


def test_a_run_may_not_start_from_a_model_of_another_shape(sounds, letters, tmp_path):
    config = training_runs.experiment(sounds)
    other = changed(config, "model", encoder_widths=(3, 3))
    variables = jax.device_get(separator.init(other.model, jax.random.key(0)))
    folder.save(tmp_path / "other", other, variables)
    with pytest.raises(AudioSepError, match="other"):
        loop.train(changed(config, "train", init_from=str(tmp_path / "other")), tmp_path / "run")


def test_a_work_directory_that_cannot_be_made_is_named(sounds, letters, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(AudioSepError, match="file/run cannot be made"):
        loop.train(training_runs.experiment(sounds), tmp_path / "file" / "run")
