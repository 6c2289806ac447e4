"""The checkpoint that comes with the package: small, described, without local paths, and good."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest

import audiosep_jax
from audiosep_jax.checkpoints import bundled
from audiosep_jax.checkpoints.bundled import BUNDLED_CHECKPOINT
from audiosep_jax.evals.evaluate import evaluate
from audiosep_jax.evals.evaluation_set import load_evaluation_set

DEMO = BUNDLED_CHECKPOINT.parent / "demo"
README = Path(__file__).parents[2] / "README.md"


def strings(value):
    if isinstance(value, dict):
        return [found for each in value.values() for found in strings(each)]
    if isinstance(value, list):
        return [found for each in value for found in strings(each)]
    return [value] if isinstance(value, str) else []


def test_it_is_small_and_has_a_model_card():
    files = {path.name: path for path in BUNDLED_CHECKPOINT.iterdir()}
    assert set(files) == {"README.md", "config.json", "model.safetensors", "presence.json"}
    assert sum(path.stat().st_size for path in files.values()) <= 15e6
    assert len(files["README.md"].read_text(encoding="utf-8").split()) > 50


def test_its_config_names_no_place_of_one_machine():
    found = strings(json.loads((BUNDLED_CHECKPOINT / "config.json").read_text(encoding="utf-8")))
    assert "audiosep-open" in found
    for each in found:
        assert not re.match(r"[/\\~]|[A-Za-z]:[/\\]|file:|\.\.", each), each


def test_the_readme_has_no_placeholder():
    assert "<!--" not in README.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def result():
    model = audiosep_jax.load()
    demo = load_evaluation_set(DEMO / "evaluation.json")
    absent = []
    for index, entry in list(enumerate(demo.entries))[::3]:
        heard = {entry.target.label, entry.interferer.label}
        others = [other.caption for other in demo.entries if other.target.label not in heard]
        caption = others[index % len(others)]
        absent.append(dataclasses.replace(entry, caption="", absent_caption=caption))
    return evaluate(
        dataclasses.replace(demo, entries=(*demo.entries, *absent)),
        root=DEMO,
        apply=model.apply,
        encode=lambda queries: np.stack([model.condition(query=query) for query in queries]),
        model_sample_rate_hz=model.sample_rate_hz,
        working_level_db=model.config.model.working_level_db,
        batch_size=7,
    )


def test_its_quality_on_the_demo_does_not_drop(result):
    # Measured: 6.44 dB.
    assert len(result.examples) == 21
    assert result.overall.sdri_db.mean >= 5.94


def test_absent_sounds_are_not_found(result):
    # Measured: 6.8 dB; the aim is 12 dB.
    assert len(result.absent) == 7
    assert result.absent_attenuation_db.mean >= 6.3


def test_the_bundled_model_has_a_name_and_its_former_name_works_with_a_note(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert bundled.find_checkpoint("audiosep-open") == bundled.find_checkpoint(None) == BUNDLED_CHECKPOINT
    with pytest.warns(FutureWarning, match="audiosep-tiny was replaced by audiosep-open"):
        assert bundled.find_checkpoint("audiosep-tiny") == BUNDLED_CHECKPOINT
    (tmp_path / "audiosep-tiny").mkdir()
    assert bundled.find_checkpoint("audiosep-tiny") == Path("audiosep-tiny")
