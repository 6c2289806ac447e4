"""Models with a real tower inside their checkpoint folder, end to end through the command."""

import numpy as np
import pytest
import soundfile
from PIL import Image
from separation_models import RATE, scene, scene_file
from tower_checkpoints import CONDITION_SIZE, tower_checkpoint

import audiosep_jax
from audiosep_jax.checkpoints import hub
from audiosep_jax.checkpoints.bundled import BUNDLED_CHECKPOINT
from audiosep_jax.cli.main import main
from audiosep_jax.errors import AudioSepError

DEMO = BUNDLED_CHECKPOINT.parent / "demo"


@pytest.fixture
def examples(tmp_path, monkeypatch):
    """A recording, a sound and two pictures in the current folder."""
    monkeypatch.chdir(tmp_path)
    scene_file(tmp_path / "street.wav", 1, subtype="PCM_24")
    soundfile.write(tmp_path / "bark.flac", scene(2, rate=44_100, channels=2).T, 44_100)
    draw = np.random.default_rng(0)
    for name in ("a.png", "b.jpg"):
        Image.fromarray(draw.integers(0, 256, (40, 60, 3)).astype(np.uint8)).save(tmp_path / name)
    return tmp_path


@pytest.fixture
def loaded(monkeypatch):
    """The models that a command loads."""
    models, load = [], audiosep_jax.load

    def kept(checkpoint):
        models.append(load(checkpoint))
        return models[-1]

    monkeypatch.setattr(audiosep_jax, "load", kept)
    return models


@pytest.mark.parametrize(
    ("encoder", "flag", "files", "argument"),
    [
        ("clap", "--query-audio", ["bark.flac"], "query_audio"),
        ("clip", "--query-image", ["a.png", "b.jpg"], "query_images"),
    ],
)
def test_a_checkpoint_with_a_tower_separates_by_text_and_example(
    examples, loaded, encoder, flag, files, argument
):
    tower_checkpoint(examples / "models" / encoder, encoder)
    command = ["separate", "street.wav", "--query", "a dog barks", flag, *files]
    assert main([*command, "--checkpoint", f"models/{encoder}"]) == 0
    (model,) = loaded
    mixture = soundfile.read("street.wav", dtype="float32")[0]
    value = files if argument == "query_images" else files[0]
    stem = files[0].partition(".")[0]
    estimates = []
    for name, query in (("a-dog-barks", {"query": "a dog barks"}), (stem, {argument: value})):
        condition = model.condition(**query)
        assert condition.shape == (CONDITION_SIZE,)
        np.testing.assert_allclose(np.linalg.norm(condition), 1, atol=1e-5)
        estimates.append(soundfile.read(f"separated/street.{name}.estimate.wav", dtype="float32")[0])
        wanted = model.separate(mixture, RATE, condition=condition).estimate
        np.testing.assert_allclose(estimates[-1], wanted, atol=2**-22)
    assert np.abs(estimates[0] - estimates[1]).max() > 1e-3


def test_an_encoder_of_the_other_kind_names_the_right_one(examples, capsys):
    for encoder, other in (("clip", "--query-audio"), ("clap", "--query-image")):
        tower_checkpoint(examples / encoder, encoder)
        files = {"--query-audio": "bark.flac", "--query-image": "a.png"}
        assert main(["separate", "street.wav", other, files[other], "--checkpoint", encoder]) == 2
        wanted = '"clap"' if encoder == "clip" else '"clip"'
        error = capsys.readouterr().err
        assert f'"{encoder}", takes no' in error
        assert f"trained with the encoder {wanted}" in error
    assert not (examples / "separated").exists()


def test_a_model_of_the_hub_is_named_by_its_id(examples, monkeypatch, capsys):
    checkpoint = tower_checkpoint(examples / "downloaded", "clap")
    asked = []

    def resolve(name):
        asked.append(name)
        if name != "org/name":
            raise AudioSepError(f"There is no model {name}.")
        return checkpoint

    monkeypatch.setattr(hub, "resolve", resolve)
    assert audiosep_jax.load("org/name").condition(query="rain").shape == (CONDITION_SIZE,)
    for command in (
        ["separate", "street.wav", "--query", "rain"],
        ["evaluate", str(DEMO / "evaluation.json"), "--root", str(DEMO)],
    ):
        assert main([*command, "--checkpoint", "org/none"]) == 2
        assert "There is no model org/none." in capsys.readouterr().err
    assert asked == ["org/name", "org/none", "org/none"]
