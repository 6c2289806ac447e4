"""The manifest of an export: its fields, and the exports that are refused before anything runs."""

import datetime
import functools
import json
import shutil
from pathlib import Path

import export_models
import pytest
from export_folders import audiosep, copied, edit

from audiosep_jax.checkpoints import folder as checkpoints
from audiosep_jax.errors import AudioSepError
from audiosep_jax.export import check, exporter, manifest, manifest_check

NOW = datetime.datetime(2026, 8, 31, 12, tzinfo=datetime.UTC)


def test_the_manifest_says_what_a_caller_needs(exported, checkpoint):
    recorded = json.loads((exported["stablehlo"] / "manifest.json").read_text("utf-8"))
    assert recorded["audio"] == {
        "sample_rate_hz": 8000,
        "channels": 1,
        "window_samples": 800,
        "window_seconds": 0.1,
    }
    assert (recorded["stft"]["frames"], recorded["stft"]["bins"], recorded["stft"]["hop_length"]) == (
        41,
        33,
        20,
    )
    whole, core = recorded["functions"]["whole"], recorded["functions"]["core"]
    assert [one["name"] for one in whole["inputs"]] == ["waveform", "condition"]
    assert core["outputs"] == [{"name": "mask", "shape": ["batch", 41, 33, 3], "dtype": "float32"}]
    assert set(recorded["versions"]) == {"audiosep_jax", "python", "jax", "jaxlib", "numpy"}
    assert recorded["config"]["model"]["film"] == "scale_shift"
    assert Path(recorded["checkpoint"]) == checkpoint.resolve()
    loaded = checkpoints.load(checkpoint)
    assert recorded["parameters"]["tensors"] == manifest.parameter_hashes(loaded.variables)
    onnx = json.loads((exported["onnx"] / "manifest.json").read_text("utf-8"))
    assert onnx["expires"] is None
    assert onnx["versions"]["opset"] == "13"
    assert onnx["parameters"]["sha256"] == recorded["parameters"]["sha256"]


def test_six_months_end_on_a_day_that_exists(checkpoint, tmp_path):
    place = exporter.export(
        checkpoint, tmp_path / "out", export_format="stablehlo", functions=("core",), created=NOW
    )
    recorded = manifest_check.read_manifest(place)
    assert recorded["expires"] == "2027-02-28T12:00:00+00:00"
    last = datetime.datetime(2027, 2, 28, 12, tzinfo=datetime.UTC)
    manifest_check.verify_date(place, recorded, now=last - datetime.timedelta(seconds=1))
    with pytest.raises(AudioSepError, match=r"expired on 2027-02-28"):
        manifest_check.verify_date(place, recorded, now=last)


def test_tampering_and_expiry_are_refused_before_anything_runs(exported, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(check, "run_fresh", None)
    place = copied(exported, "onnx", tmp_path)
    model = place / "whole.onnx"
    data = bytearray(model.read_bytes())
    data[len(data) // 2] ^= 1
    model.write_bytes(data)
    (place / "core.onnx").unlink()
    status, shown = audiosep(capsys, "export", "--check", place)
    assert status == 2
    assert "core.onnx is missing; whole.onnx is not the file that was exported" in shown
    place = copied(exported, "stablehlo", tmp_path)
    edit(place, expires="2026-01-01T00:00:00+00:00")
    status, shown = audiosep(capsys, "export", "--check", place)
    assert status == 2
    assert "expired on 2026-01-01" in shown


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is damaged"),
        ("[" * 100_000, "is damaged"),
        ("[]", "is not the manifest of an export"),
        ('{"kind": "audiosep_jax export", "manifest_version": 99}', "has version 99"),
        (
            '{"kind": "audiosep_jax export", "manifest_version": 1}',
            r"\('format', 'name', 'created', 'call', 'functions' and 10 more missing\)",
        ),
        (None, "manifest.json cannot be read"),
    ],
)
def test_unusable_manifests_are_named(text, said, tmp_path):
    if text is not None:
        (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(AudioSepError, match=said):
        manifest_check.read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("kind", "field", "value", "said"),
    [
        ("onnx", "functions", {}, "'functions' is empty"),
        ("onnx", "functions", "x", "'functions' is not an object"),
        ("onnx", "functions.whole", "x", "'functions.whole' has the file None, not 'whole.onnx'"),
        ("onnx", "functions.whole.file", "../whole.onnx", "'functions.whole' has the file '../whole.onnx'"),
        ("onnx", "functions.whole.file", ["whole.onnx"], "'functions.whole' has the file"),
        ("onnx", "functions.half", {"file": "half.onnx"}, "the function 'half' is unknown"),
        ("safetensors", "functions", {"whole": {"file": "x"}}, "but the format has none"),
        ("stablehlo", "expires", None, "'expires' is None, not a date with its time zone"),
        ("stablehlo", "expires", 5, "'expires' is 5, not a date"),
        ("stablehlo", "expires", "soon", "'expires' is 'soon', not a date"),
        ("stablehlo", "expires", "2099-01-01", "'expires' is '2099-01-01', not a date"),
        ("onnx", "expires", "2099-01-01T00:00:00+00:00", "', not null"),
        ("onnx", "created", "yesterday", "'created' is 'yesterday', not a date"),
        ("onnx", "audio", {}, "'audio.sample_rate_hz' is None"),
        ("onnx", "audio.sample_rate_hz", 16_000, "'audio.sample_rate_hz' differs from 'config.model'"),
        ("onnx", "audio.sample_rate_hz", True, "'audio.sample_rate_hz' is True"),
        ("onnx", "audio.window_samples", 0, "'audio.window_samples' is 0"),
        ("onnx", "audio.window_samples", 10**12, "'audio.window_samples' is 1000000000000"),
        ("onnx", "audio.window_samples", "5", "'audio.window_samples' is '5'"),
        ("onnx", "format", "exe", "'format' is 'exe', not one of stablehlo, onnx, safetensors"),
        ("onnx", "format", ["onnx"], "'format' is not a text"),
        ("onnx", "config", {}, "'config.model' is missing"),
        ("onnx", "checkpoint", "", "'checkpoint' is empty"),
        ("onnx", "parameters", {}, "'parameters.tensors' has no tensors"),
        ("safetensors", "parameters.tensors", 3, "'parameters.tensors' has no tensors"),
        ("onnx", "files", {}, "'files' is empty"),
        ("onnx", "files", {"../a": {"sha256": "0" * 64}}, "'../a' is not in the folder"),
        ("onnx", "files", {"a\0": {"sha256": "0" * 64}}, "is not in the folder"),
        ("onnx", "files", {"a": 1}, "the file 'a' has no SHA-256"),
        ("onnx", "files", {"a": {"sha256": "0" * 64}}, "a is missing; whole.onnx is not listed"),
        ("onnx", "files", {"x" * 300: {"sha256": "0" * 64}}, "xxx"),
    ],
)
def test_a_damaged_field_is_one_sentence(kind, field, value, said, exported, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(check, "compare", None)
    place = copied(exported, kind, tmp_path)
    recorded = json.loads((place / "manifest.json").read_text("utf-8"))
    *parents, last = field.split(".")
    functools.reduce(dict.__getitem__, parents, recorded)[last] = value
    edit(place, **recorded)
    status, shown = audiosep(capsys, "export", "--check", place)
    assert status == 2
    assert said in shown
    assert shown.count("\n") == 1
    assert "Traceback" not in shown


def test_all_faults_of_a_manifest_are_named_at_once(exported, tmp_path):
    place = copied(exported, "stablehlo", tmp_path)
    edit(place, functions={}, expires=None, query="x", audio={"sample_rate_hz": 8000})
    with pytest.raises(AudioSepError) as caught:
        manifest_check.read_manifest(place)
    said = str(caught.value)
    assert "'query' is not an object; 'expires' is None" in said
    assert "'functions' is empty; 'audio.window_samples' is None" in said


@pytest.mark.parametrize("kind", ["stablehlo", "onnx", "safetensors"])
def test_the_manifest_of_a_new_export_is_valid(kind, exported):
    assert manifest_check.read_manifest(exported[kind])["format"] == kind


def test_the_check_wants_the_checkpoint_of_the_export(exported, checkpoint, tmp_path, capsys):
    other = export_models.save(tmp_path / "other", seed=1, **export_models.MODELS["scale_shift"])
    status, shown = audiosep(capsys, "export", "--check", exported["onnx"], "--checkpoint", other)
    assert status == 2
    assert "is not the model" in shown
    assert "tensors differ" in shown
    place = copied(exported, "onnx", tmp_path)
    edit(place, checkpoint=str(tmp_path / "moved"))
    assert "which does not exist: name the checkpoint" in audiosep(capsys, "export", "--check", place)[1]
    same = Path(shutil.copytree(checkpoint, tmp_path / "same"))
    config = json.loads((same / "config.json").read_text())
    config["model"]["hop_length"] = 16
    (same / "config.json").write_text(json.dumps(config))
    shown = audiosep(capsys, "export", "--check", place, "--checkpoint", same)[1]
    assert "but another model config" in shown
