import dataclasses
import functools
import json
import re
from pathlib import Path

import jax
import numpy as np
import pytest
from evals_sounds import LetterEncoder, small_set, write_clips

from audiosep_jax.cli.evaluate import EvaluateArgs, run
from audiosep_jax.cli.main import main
from audiosep_jax.config import ExperimentConfig, ModelConfig, QueryConfig
from audiosep_jax.encoders import base
from audiosep_jax.errors import AudioSepError
from audiosep_jax.evals.evaluation_set import load_evaluation_set, save_evaluation_set
from audiosep_jax.models import separator
from audiosep_jax.reports.result_file import read_evaluation

FILES = [
    "classes.png",
    "distribution.png",
    "result.json",
    "spectrograms-best.png",
    "spectrograms-median.png",
    "spectrograms-worst.png",
    "table.md",
]


def random_variables(model):
    """Variables of the right shapes, made without the slow compilation of the initialisers."""
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        values = rng.normal(0, 0.2, leaf.shape).astype(np.float32)
        return np.exp(values) if "var" in jax.tree_util.keystr(path) else values

    shapes = jax.eval_shape(functools.partial(separator.init, model), jax.random.key(0))
    return jax.tree_util.tree_map_with_path(draw, shapes)


@pytest.fixture(autouse=True)
def _letters(monkeypatch):
    monkeypatch.setitem(base.ENCODERS, "letters", "evals_sounds")


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    root = tmp_path_factory.mktemp("command")
    made = small_set(root, write_clips(root), name="generated")
    save_evaluation_set(made, root / "set.json")
    return root


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = pytest.importorskip("audiosep_jax.checkpoints.folder")
    model = ModelConfig(
        sample_rate_hz=8000,
        window_length=256,
        hop_length=64,
        encoder_widths=(4, 8),
        condition_size=LetterEncoder.condition_size,
    )
    config = ExperimentConfig(name="random-tiny", model=model, query=QueryConfig(encoder="letters"))
    path = tmp_path_factory.mktemp("model") / "checkpoint"
    folder.save(path, config, random_variables(model))
    return path


def arguments(sounds, checkpoint, out, **changes):
    given = {"evaluation_set": sounds / "set.json", "root": sounds, "checkpoint": checkpoint, "out": out}
    return EvaluateArgs(**(given | changes))


def test_a_set_and_a_checkpoint_give_results_tables_and_figures(sounds, checkpoint, tmp_path, capsys):
    out = tmp_path / "results" / "here"
    assert run(arguments(sounds, checkpoint, out, batch_size=5)) == 0
    assert sorted(one.name for one in out.iterdir()) == FILES
    result = json.loads((out / "result.json").read_text("utf-8"))
    assert (result["set_name"], result["model"]) == ("generated", "random-tiny")
    values = [row["sdri_db"] for row in result["examples"]]
    assert result["overall"]["sdri_db"]["mean"] == pytest.approx(np.mean(values))
    shown = capsys.readouterr().out
    assert "random-tiny on generated" in shown
    assert f"{result['overall']['sdri_db']['mean']:.2f}" in shown
    assert f"{result['absent_attenuation_db']['mean']:.2f} dB" in re.sub(r"\s+", " ", shown)
    assert "random-tiny on generated" in (out / "table.md").read_text("utf-8")

    # The same numbers, in another batch.
    assert run(arguments(sounds, checkpoint, tmp_path, batch_size=18)) == 0
    again = json.loads((tmp_path / "result.json").read_text("utf-8"))
    np.testing.assert_allclose([row["sdri_db"] for row in again["examples"]], values, atol=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"evaluation_set": Path("no.json")}, r"no\.json does not exist"),
        ({"root": Path("nowhere")}, "nowhere is not a folder"),
        ({"batch_size": 0}, "--batch-size is 0"),
        ({"gain_db": ()}, "--gain-db has no value"),
        ({"gain_db": (0.0, 0.0)}, "one value twice"),
        ({"gain_db": (float("nan"),)}, "--gain-db is out of range"),
    ],
)
def test_a_users_mistake_is_named_before_the_model_is_loaded(sounds, tmp_path, change, message):
    with pytest.raises(AudioSepError, match=message):
        run(arguments(sounds, tmp_path / "never-looked-at", tmp_path / "out", **change))
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made_is_named_before_the_work(sounds, checkpoint, tmp_path, capsys):
    (tmp_path / "file").write_text("mine", "utf-8")
    with pytest.raises(AudioSepError, match="file cannot be written as a folder"):
        run(arguments(sounds, checkpoint, tmp_path / "file"))
    assert (tmp_path / "file").read_text("utf-8") == "mine"
    assert "separating" not in capsys.readouterr().out


def test_bounds_and_gains_get_files_and_tables(sounds, checkpoint, tmp_path, capsys):
    made = load_evaluation_set(sounds / "set.json")
    kinds = {"tone": "steady", "noise": "steady", "pulse": "short"}
    save_evaluation_set(dataclasses.replace(made, kinds=kinds), tmp_path / "set.json")
    given = ["evaluate", str(tmp_path / "set.json"), "--root", str(sounds), "--checkpoint", str(checkpoint)]
    out = tmp_path / "out"
    assert main([*given, "--bounds", "yes", "--gain-db", "0", "-20", "--out", str(out)]) == 0
    assert sorted(one.name for one in out.iterdir()) == sorted(
        [*FILES, "bounds.json", "gains.json", "kinds.png"]
    )
    found = read_evaluation(out)
    assert (found.result.gain_db, [one.gain_db for one in found.gains]) == (0, [-20])
    assert [one.model for one in found.bounds][1:] == ["half", "ratio mask", "phase-sensitive mask"]
    table = (out / "table.md").read_text("utf-8")
    for part in ("| kind |", "| class |", "| -20 dB |", "| floor or ceiling |"):
        assert part in table
    assert "-20 dB" in capsys.readouterr().out
    only = tmp_path / "only"
    assert main([*given, "--bounds", "only", "--out", str(only)]) == 0
    assert sorted(one.name for one in only.iterdir()) == ["bounds.json", "table.md"]
    assert (only / "bounds.json").read_bytes() == (out / "bounds.json").read_bytes()
