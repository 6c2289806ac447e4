"""`audiosep export` and its check: real folders, a real fresh process, injected faults."""

import errno
import importlib.util
import json
import resource
import runpy
import subprocess
import sys
import types
from pathlib import Path

import drawn_models
import export_models
import numpy as np
import pytest
import soundfile
from export_folders import audiosep, copied

import audiosep_jax
from audiosep_jax.errors import AudioSepError
from audiosep_jax.evals import metrics
from audiosep_jax.export import check, check_sounds, exporter, manifest, manifest_check
from audiosep_jax.utils import staging


@pytest.mark.parametrize("kind", ["stablehlo", "onnx"])
def test_an_export_passes_its_check_on_real_sound(kind, checkpoint, tmp_path, monkeypatch, capsys):
    # Relative paths, as people type them: the check's own process runs in another folder.
    monkeypatch.chdir(tmp_path)
    # The process compiles in half the time; the operations are the same.
    monkeypatch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=0")
    function, out, recording = "whole", Path("served"), Path("recording.flac")
    soundfile.write(recording, drawn_models.noise(3000, 2), 11_025)
    arguments = ("--format", kind, "--functions", function, "--window-seconds", 0.1)
    status, shown = audiosep(capsys, "export", "--checkpoint", checkpoint, "--out", out, *arguments)
    assert status == 0, shown
    assert "does not identify the query encoder" in shown
    written = sorted(path.name for path in out.iterdir())
    assert written == sorted([f"{function}.{kind}", "manifest.json", "run.py"])
    status, shown = audiosep(capsys, "export", "--check", out, "--audio", recording)
    assert status == 0, shown
    assert "Conditions are random vectors" in shown
    assert [line.rpartition(": ")[2] for line in shown.splitlines() if line.startswith("the export ran")] == [
        "whole, bundled mixture, batch 1",
        "whole, bundled mixtures, batch 3",
        "whole, recording.flac, batch 1",
    ]
    rows = [line.split(" | ") for line in shown.splitlines() if line.startswith(f"| {function} ")]
    assert [(row[1], row[2]) for row in rows] == [
        ("bundled mixture", "1"),
        ("bundled mixtures", "3"),
        ("recording.flac", "1"),
    ]
    assert all(float(row[3]) <= check.LIMITS[kind] for row in rows)
    assert [row[4] == "–" for row in rows] == [False, False, True]


def test_a_model_that_computes_something_else_fails_the_check(exported, checkpoint, tmp_path):
    # The weights of another model under the first one's manifest: only the comparison can find it.
    other = export_models.save(tmp_path / "other", seed=1, **export_models.MODELS["scale_shift"])
    wrong = exporter.export(
        other, tmp_path / "wrong", export_format="onnx", functions=("core",), window_seconds=0.1
    )
    recorded = manifest_check.read_manifest(exported["onnx"])
    del recorded["functions"]["whole"]
    loaded = manifest_check.live_checkpoint(exported["onnx"], recorded, checkpoint)
    batches = check_sounds.batches(
        sample_rate_hz=8000, samples=800, condition_of=check_sounds.random_condition(5), recordings=()
    )
    comparisons = check.compare(wrong, recorded, loaded, batches[:1], si_sdr_db=metrics.si_sdr_db)
    found = check.problems("onnx", list(comparisons))
    assert len(found) == 2
    assert "core, bundled mixture, batch 1: differs by" in found[0]
    assert "SI-SDR differs by" in found[1]


def test_a_foreign_run_script_is_not_executed(exported, tmp_path):
    place = copied(exported, "onnx", tmp_path)
    (place / "run.py").write_text(f"open({str(tmp_path / 'harm')!r}, 'w')\n" + (place / "run.py").read_text())
    condition = np.ones((2, 5), np.float32)
    ((result, seconds),) = check.run_fresh(place, "onnx", [("whole", np.ones((2, 800)), condition)])
    assert result.shape == (2, 800)
    assert len(seconds) >= 1
    assert not (tmp_path / "harm").exists()
    with pytest.raises(AudioSepError, match=r"run\.py is not the file that was exported"):
        manifest_check.verify_files(place, manifest_check.read_manifest(place))


def test_the_script_beside_an_export_runs_as_it_says(exported, tmp_path):
    signal = drawn_models.noise(2, 800)
    np.savez(tmp_path / "inputs.npz", waveform=signal, condition=drawn_models.noise(2, 5))
    script = exported["onnx"] / "run.py"
    command = [sys.executable, "-I", script, tmp_path / "inputs.npz", tmp_path / "outputs.npz"]
    subprocess.run(command, check=True, timeout=120)
    estimate = np.load(tmp_path / "outputs.npz")["estimate"]
    assert estimate.shape == signal.shape
    assert np.abs(estimate).max() > 0.01
    help_text = subprocess.run(command[:3], capture_output=True, text=True, check=False).stderr
    assert "INPUTS.npz holds" in help_text


def test_the_archive_is_the_checkpoint_bit_for_bit(exported, checkpoint, tmp_path, capsys):
    place = exported["safetensors"]
    for name in ("model.safetensors", "config.json"):
        assert (place / name).read_bytes() == (checkpoint / name).read_bytes()
    assert audiosep_jax.load(place).config == audiosep_jax.load(checkpoint).config
    status, shown = audiosep(capsys, "export", "--check", place, "--checkpoint", checkpoint)
    assert status == 0
    assert "holds the same tensors" in shown


def test_a_tower_inside_the_checkpoint_travels_and_is_identified(tmp_path):
    place = export_models.save(tmp_path / "with_tower", **export_models.BASE)
    (place / "tower").mkdir()
    (place / "tower" / "vocab.txt").write_text("dog\n")
    config = json.loads((place / "config.json").read_text())
    config["query"] = {"encoder": "sentence", "source": "tower"}
    (place / "config.json").write_text(json.dumps(config))
    out = exporter.export(place, tmp_path / "archive", export_format="safetensors")
    assert (out / "tower" / "vocab.txt").read_text() == "dog\n"
    recorded = manifest_check.read_manifest(out)
    assert recorded["query"]["source"] == "tower"
    assert recorded["query"]["tower"] == {"vocab.txt": manifest.file_hash(place / "tower" / "vocab.txt")}
    assert recorded["files"]["tower/vocab.txt"]["bytes"] == 4
    (out / "tower" / "vocab.txt").write_text("cat\n")
    with pytest.raises(AudioSepError, match=r"tower/vocab\.txt is not the file"):
        manifest_check.verify_files(out, recorded)


@pytest.mark.parametrize("name", ["notes.txt", "sub/notes.txt"])
def test_foreign_files_are_left_alone(name, exported, checkpoint, tmp_path):
    place = copied(exported, "onnx", tmp_path)
    (place / name).parent.mkdir(exist_ok=True)
    (place / name).write_text("mine")
    before = manifest.folder_hashes(place)
    with pytest.raises(AudioSepError, match="which is not part of an export"):
        exporter.export(checkpoint, place, export_format="safetensors")
    assert manifest.folder_hashes(place) == before
    (place / name).unlink()
    (place / "__pycache__").mkdir()
    (place / "__pycache__" / "run.cpython-311.pyc").write_text("")
    exporter.export(checkpoint, place, export_format="safetensors")
    assert not (place / "whole.onnx").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"onnx"}


def test_files_links_and_unwritable_places_are_refused(checkpoint, tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    for out, said in [
        (tmp_path / "file", "is not a folder"),
        (tmp_path / "link", "is not a folder"),
        (tmp_path / "file" / "below", "cannot be written"),
        (Path("/proc/export"), "cannot be written"),
    ]:
        with pytest.raises(AudioSepError, match=said):
            exporter.export(checkpoint, out, export_format="safetensors")


def test_a_full_disk_leaves_what_was_there(exported, checkpoint, tmp_path):
    place = copied(exported, "safetensors", tmp_path)
    before = manifest.folder_hashes(place)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(AudioSepError, match=r"cannot be written .*make room"):
            exporter.export(checkpoint, place, export_format="onnx", functions=("core",), window_seconds=0.1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert manifest.folder_hashes(place) == before
    assert [path.name for path in tmp_path.iterdir()] == ["safetensors"]


def test_a_failed_exchange_puts_the_old_export_back(exported, checkpoint, tmp_path, monkeypatch):
    place = copied(exported, "safetensors", tmp_path)
    before = manifest.folder_hashes(place)
    rename = staging.os.rename

    def failing(source, target):
        if Path(target) == place and Path(source).name != "old":
            raise OSError(errno.EBUSY, "Device or resource busy")
        rename(source, target)

    monkeypatch.setattr(staging, "_exchange", lambda *_: False)
    monkeypatch.setattr(staging.os, "rename", failing)
    with pytest.raises(AudioSepError, match="Device or resource busy"):
        exporter.export(checkpoint, place, export_format="safetensors")
    assert manifest.folder_hashes(place) == before
    assert [path.name for path in tmp_path.iterdir()] == ["safetensors"]


def test_without_onnx_one_sentence_says_what_to_install(checkpoint, tmp_path, capsys, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnx" else find(name))
    out = tmp_path / "out"
    status, shown = audiosep(capsys, "export", "--checkpoint", checkpoint, "--format", "onnx", "--out", out)
    assert status == 2
    assert "pip install 'audiosep_jax[onnx]'" in shown
    assert "Traceback" not in shown
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Give either --out"),
        (("--out", "a", "--check", "b"), "Give either --out"),
        (("--out", "a", "--audio", "b.wav"), "--audio belongs to --check"),
        (("--check", "nothing_here"), "nothing_here is not an export"),
        (("--out", "a", "--checkpoint", "nothing_here"), "nothing_here"),
        (("--out", "a", "--window-seconds", "0"), "0 s long"),
        (("--out", "a", "--window-seconds", "nan"), "nan s long"),
        (("--out", "a", "--functions"), "No function was given"),
    ],
)
def test_mistakes_are_one_sentence(arguments, said, checkpoint, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if "--checkpoint" not in arguments and "--check" not in arguments:
        arguments = (*arguments, "--checkpoint", checkpoint)
    status, shown = audiosep(capsys, "export", *arguments)
    assert status == 2
    assert said in shown
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["stablehlo", "onnx"])
def test_the_bundled_model_passes_its_check(kind, tmp_path, capsys):
    assert audiosep(capsys, "export", "--format", kind, "--out", tmp_path / "served")[0] == 0
    status, shown = audiosep(capsys, "export", "--check", tmp_path / "served")
    assert status == 0, shown
    assert shown.count("bundled mixtures | 3") == 2


@pytest.mark.parametrize("kind", ["onnx", "stablehlo"])
def test_the_script_brings_waveforms_to_the_working_level(kind, tmp_path, monkeypatch):
    script = Path(manifest.__file__).parent / "runners" / f"{kind}.py"
    monkeypatch.setitem(sys.modules, "onnxruntime", types.ModuleType("onnxruntime"))
    levelled = runpy.run_path(str(script), run_name="run")["at_working_level"]
    heard = []

    def half(waveform, condition):
        heard.append(waveform)
        return 0.5 * waveform

    def manifest_with(level_db):
        values = {"config": {"model": {"working_level_db": level_db}}}
        (tmp_path / "manifest.json").write_text(json.dumps(values))

    manifest_with(-20.0)
    waveform = drawn_models.noise(3, 800) * np.float32([[1], [1e-3], [0]])
    np.testing.assert_allclose(levelled(half, tmp_path)(waveform, None), 0.5 * waveform, rtol=1e-6)
    np.testing.assert_allclose(np.std(heard[0], axis=1), [0.1, 0.1, 0], rtol=1e-5)
    manifest_with(None)
    assert levelled(half, tmp_path) is half
