"""Checkpoint folders: round trips, named faults, and no half or mixed checkpoint after a kill."""

import errno
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import killed_saves
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from safetensors.numpy import load_file, save_file

from audiosep_jax.checkpoints import folder
from audiosep_jax.config import ExperimentConfig, ModelConfig, TrainConfig
from audiosep_jax.errors import AudioSepError
from audiosep_jax.models import separator
from audiosep_jax.utils import staging

CONFIG = ExperimentConfig(
    name="small",
    model=ModelConfig(window_length=16, hop_length=5, encoder_widths=(2, 3), condition_size=4),
    train=TrainConfig(steps=7),
)


def values(level=None):
    """Variables of the small model: random, or all of one value."""
    draw = np.random.default_rng(0)

    def fill(leaf):
        whole = draw.standard_normal(leaf.shape) if level is None else np.full(leaf.shape, level)
        return whole.astype(np.float32)

    return jax.tree.map(fill, separator.shapes(CONFIG.model))


def assert_holds(place, variables, *, rtol=0.0):
    loaded = folder.load(place)
    assert loaded.config == CONFIG
    flat, expected = flatten_dict(loaded.variables), flatten_dict(variables)
    assert set(flat) == set(expected)
    for path, value in expected.items():
        assert flat[path].dtype == np.float32
        np.testing.assert_allclose(flat[path], value, rtol=rtol, atol=0)


@pytest.fixture
def place(tmp_path):
    folder.save(tmp_path / "model", CONFIG, values(1))
    return tmp_path / "model"


def test_a_saved_model_is_loaded_bit_for_bit(tmp_path):
    folder.save(tmp_path / "new" / "model", CONFIG, values())
    assert_holds(tmp_path / "new" / "model", values())


def test_arrays_on_a_device_are_saved_too(tmp_path):
    folder.save(tmp_path, CONFIG, jax.tree.map(jax.numpy.asarray, values()))
    assert_holds(tmp_path, values())


def test_the_files_are_plain_and_readable_by_others(place):
    assert sorted(path.name for path in place.iterdir()) == ["config.json", "model.safetensors"]
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in place.iterdir())
    assert json.loads((place / "config.json").read_text("utf-8"))["model"]["encoder_widths"] == [2, 3]
    names = load_file(place / "model.safetensors")
    assert names["params.resunet.encoder1.conv1.kernel"].shape == (3, 3, 2, 2)


def test_half_precision_is_for_kernels_and_halves_their_bytes(tmp_path):
    folder.save(tmp_path / "whole", CONFIG, values())
    folder.save(tmp_path / "half", CONFIG, values(), kernel_dtype="float16")
    assert_holds(tmp_path / "half", values(), rtol=1e-3)
    for name, tensor in load_file(tmp_path / "half" / "model.safetensors").items():
        assert tensor.dtype == (np.float16 if name.endswith("kernel") else np.float32), name
    sizes = [(tmp_path / kind / "model.safetensors").stat().st_size for kind in ("half", "whole")]
    assert sizes[0] < sizes[1]


def test_an_older_checkpoint_is_replaced_and_other_files_stay(place):
    (place / "README.md").write_text("a card")
    folder.save(place, CONFIG, values(2))
    assert_holds(place, values(2))
    assert (place / "README.md").read_text() == "a card"


@pytest.mark.parametrize("failing", ["audiosep_jax.checkpoints.folder.save_file", "os.rename"])
def test_a_failed_save_leaves_the_old_checkpoint_whole(place, monkeypatch, failing):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(staging, "_exchange", lambda *_: False)
    monkeypatch.setattr(failing, full)
    with pytest.raises(AudioSepError, match=r"cannot be written \(No space left on device\): make room"):
        folder.save(place, CONFIG, values(2))
    monkeypatch.undo()
    assert_holds(place, values(1))
    assert sorted(path.name for path in place.iterdir()) == ["config.json", "model.safetensors"]


def test_a_folder_that_cannot_be_made_is_an_error_of_the_user(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(AudioSepError, match=r"file/model cannot be written"):
        folder.save(tmp_path / "file" / "model", CONFIG, values())


SAVE_FOREVER = """
import itertools
from pathlib import Path
from audiosep_jax.models import separator
from killed_saves import CONFIG, save
shapes = separator.shapes(CONFIG.model)
for level in itertools.count(1):
    save(Path({place!r}), level, shapes)
    print(level, flush=True)
"""
HELPERS = Path(killed_saves.__file__).parent


def saving_forever(place):
    code = f"import sys; sys.path.insert(0, {str(HELPERS)!r})\n" + SAVE_FOREVER.format(place=str(place))
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def test_a_killed_save_leaves_the_old_or_the_new_checkpoint(tmp_path):
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")
    draw = random.Random(seed)
    process = saving_forever(tmp_path / "model")
    assert process.stdout is not None
    for _ in range(draw.randrange(1, 30)):
        last = int(process.stdout.readline())
    time.sleep(draw.uniform(0, 0.02))
    os.kill(process.pid, signal.SIGKILL)
    last = max([last, *map(int, process.communicate()[0].split())])
    assert killed_saves.level_of(tmp_path / "model") in (last, last + 1)


@pytest.mark.parametrize("exchange", ["yes", "no"])
def test_a_save_that_is_killed_at_any_step_leaves_one_whole_checkpoint(tmp_path, exchange):
    command = [sys.executable, killed_saves.__file__, str(tmp_path / "saves" / "model"), exchange]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) > 30


def test_a_reader_never_gets_the_config_of_one_model_and_the_weights_of_another(tmp_path):
    with saving_forever(tmp_path / "model") as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "1\n"
            levels = [killed_saves.level_of(tmp_path / "model") for _ in range(100)]
        finally:
            process.kill()
    assert levels == sorted(levels)
    assert len(set(levels)) > 1


def test_a_link_to_a_folder_stays_a_link(place):
    link = place.parent / "link"
    link.symlink_to(place, target_is_directory=True)
    folder.save(link, CONFIG, values(2))
    assert link.is_symlink()
    assert_holds(place, values(2))
    assert sorted(path.name for path in place.parent.iterdir()) == ["link", "model"]


def test_other_files_of_the_folder_survive(place):
    (place / "tower").mkdir(mode=0o750)
    (place / "tower" / "config.json").write_text("tower")
    (place / "aim").symlink_to("nowhere")
    (place / "presence.json").write_text("of the old weights")
    place.chmod(0o770)
    folder.save(place, CONFIG, values(2))
    assert_holds(place, values(2))
    names = ["aim", "config.json", "model.safetensors", "tower"]
    assert sorted(path.name for path in place.iterdir()) == names
    assert (place / "tower" / "config.json").read_text() == "tower"
    assert os.readlink(place / "aim") == "nowhere"
    assert (place / "tower").stat().st_mode & 0o777 == 0o750
    assert place.stat().st_mode & 0o777 == 0o770


def test_a_folder_in_which_other_processes_write_is_not_moved(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "batch.npz").write_text("batch")
    before = (tmp_path / "model").stat().st_ino
    folder.save(tmp_path / "model", CONFIG, values(1))
    assert (tmp_path / "model").stat().st_ino == before
    assert_holds(tmp_path / "model", values(1))
    assert (tmp_path / "model" / "batch.npz").read_text() == "batch"


def test_a_folder_whose_save_was_killed_between_two_steps_is_found_through_a_link(place, monkeypatch):
    def killed(new, path, *, aside):
        path.rename(aside)
        raise KeyboardInterrupt  # and nothing is cleaned up

    link = place.parent / "link"
    link.symlink_to(place, target_is_directory=True)
    monkeypatch.setattr(staging, "_exchange", lambda *_: False)
    monkeypatch.setattr(staging, "swap", killed)
    monkeypatch.setattr(staging, "_settle", lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        folder.save(link, CONFIG, values(2))
    monkeypatch.undo()
    assert not place.exists()
    assert_holds(link, values(1))
    assert sorted(path.name for path in place.parent.iterdir()) == ["link", "model"]


@pytest.mark.parametrize("exchange", [True, False])
def test_a_file_that_appears_during_a_save_survives(place, monkeypatch, exchange):
    link = staging._carry_over

    def appears(source, target, keep):
        link(source, target, keep)
        if source == place:
            (place / "late.txt").write_text("late")

    monkeypatch.setattr(staging, "_carry_over", appears)
    if not exchange:
        monkeypatch.setattr(staging, "_exchange", lambda *_: False)
    folder.save(place, CONFIG, values(2))
    assert_holds(place, values(2))
    assert (place / "late.txt").read_text() == "late"


def rewrite(place, change):
    tensors = load_file(place / "model.safetensors")
    change(tensors)
    save_file(tensors, place / "model.safetensors")


def test_all_missing_unknown_and_mis_shaped_tensors_are_named_at_once(place):
    def change(tensors):
        del tensors["params.resunet.bn0.scale"], tensors["batch_stats.resunet.bn0.var"]
        tensors["params.resunet.other"] = np.zeros(3, np.float32)
        tensors["params.resunet.bn0.bias"] = np.zeros(8, np.float32)

    rewrite(place, change)
    with pytest.raises(AudioSepError) as error:
        folder.load(place)
    for part in (
        f"{place / 'model.safetensors'} does not fit its config.json: ",
        "params.resunet.other is not part of this model",
        "params.resunet.bn0.scale is missing",
        "batch_stats.resunet.bn0.var is missing",
        "params.resunet.bn0.bias has shape (8,), needed is (9,)",
    ):
        assert part in str(error.value)


def test_weights_of_another_config_do_not_fit(place):
    values = json.loads((place / "config.json").read_text("utf-8"))
    values["model"]["encoder_widths"] = [2, 4]
    (place / "config.json").write_text(json.dumps(values))
    with pytest.raises(AudioSepError, match="does not fit"):
        folder.load(place)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda place: (place / "model.safetensors").unlink(), r"holds no model\.safetensors"),
        (lambda place: (place / "config.json").unlink(), r"config\.json does not exist"),
        (lambda place: (place / "config.json").write_text("{"), r"config\.json is not a readable JSON"),
        (lambda place: (place / "config.json").write_text("[]"), r"config\.json must be a JSON object"),
        (
            lambda place: (place / "config.json").write_text('{"modle": {}}'),
            r"config\.json has unknown field\(s\) modle",
        ),
        (lambda place: (place / "model.safetensors").write_bytes(b""), "is damaged or not"),
        (lambda place: (place / "model.safetensors").write_bytes(b"\xff" * 100), "is damaged or not"),
        (lambda place: os.truncate(place / "model.safetensors", 3000), "is damaged or not"),
    ],
)
def test_a_damaged_folder_is_named_with_its_fault(place, damage, message):
    damage(place)
    with pytest.raises(AudioSepError, match=message) as error:
        folder.load(place)
    assert str(place) in str(error.value)


def test_a_path_without_a_folder_is_named(tmp_path, place):
    for path in (tmp_path / "nowhere", place / "config.json"):
        with pytest.raises(AudioSepError, match="is not a checkpoint folder"):
            folder.load(path)


@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".safetensors"])
def test_weights_that_are_not_converted_are_told_how(suffix, tmp_path):
    path = tmp_path / f"audiosep{suffix}"
    path.write_bytes(b"x")
    with pytest.raises(AudioSepError, match=r"convert it with `audiosep convert .*audiosep\.\w+ FOLDER`"):
        folder.load(path)


@pytest.mark.parametrize("kind", ["laion_clap", "clap", "clip", "bert"])
def test_a_tower_is_no_checkpoint(kind, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind, "projection_dim": 512}))
    with pytest.raises(AudioSepError, match=f"is not a checkpoint folder but a '{kind}' model"):
        folder.load(tmp_path)


def with_source(place, source):
    values = json.loads((place / "config.json").read_text("utf-8"))
    values["query"] = {"encoder": "clap", "source": source}
    (place / "config.json").write_text(json.dumps(values))
    return folder.load(place).config.query.source


def test_a_tower_inside_the_folder_is_found_wherever_the_folder_lies(place, monkeypatch):
    (place / "tower").mkdir()
    (place.parent / "other").mkdir()
    assert with_source(place, "tower") == str(place / "tower")
    for source in ("absent", "../other", ".", "", str(place.parent / "other"), "org/tower"):
        assert with_source(place, source) == source
    monkeypatch.chdir(place.parent)
    assert folder.load(place.name).config.query.source == "org/tower"
    assert with_source(Path(place.name), "tower") == f"{place.name}/tower"


def test_a_folder_that_nothing_can_replace_gets_its_files_one_by_one(place, monkeypatch):
    """As in a mount point, or below a parent that cannot be written."""
    (place / "notes.txt").write_text("mine")
    (place / "presence.json").write_text("{}")
    make = tempfile.mkdtemp

    def refused(suffix=None, prefix=None, dir=None):
        if Path(dir) == place.parent:
            raise PermissionError(errno.EACCES, "Permission denied")
        return make(suffix, prefix, dir)

    monkeypatch.setattr(tempfile, "mkdtemp", refused)
    folder.save(place, CONFIG, values(7))
    assert_holds(place, values(7))
    assert sorted(path.name for path in place.iterdir()) == ["config.json", "model.safetensors", "notes.txt"]
    assert [path.name for path in place.parent.iterdir()] == [place.name]


def test_a_failed_save_leaves_nothing_beside_a_read_only_folder(place, monkeypatch):
    place.chmod(0o555)

    def busy(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(folder.staging, "_exchange", busy)
    with pytest.raises(AudioSepError, match=r"cannot be written \(Input/output error\): make room"):
        folder.save(place, CONFIG, values(7))
    assert [path.name for path in place.parent.iterdir()] == [place.name]
    assert_holds(place, values(1))
