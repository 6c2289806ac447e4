"""Sources of weights are recognized by their content, not by their name; other files are named."""

import json
from collections import OrderedDict

import numpy as np
import pytest
from safetensors.numpy import save_file

from audiosep_jax.checkpoints import torch_writer
from audiosep_jax.checkpoints.source import CheckpointFolder, Tensors, TowerFolder, open_source
from audiosep_jax.errors import AudioSepError
from audiosep_jax.utils import safetensors_file

ONE = np.ones(2, np.float32)


def write(path, names, *, form="lightning"):
    tensors = OrderedDict((name, ONE) for name in names)
    if form == "lightning":
        torch_writer.write(path, torch_writer.lightning_checkpoint(tensors))
    elif form == "bare":
        torch_writer.write(path, tensors)
    elif form == "laion":
        torch_writer.write(
            path, {"epoch": 1, "name": "CLAP", "state_dict": tensors, "optimizer": {"state": {}}}
        )
    else:
        save_file(dict(tensors), path)
    return path


@pytest.mark.parametrize("form", ["lightning", "bare", "laion", "safetensors"])
@pytest.mark.parametrize(
    ("names", "separator", "tower"),
    [
        (["ss_model.base.x", "query_encoder.model.text_branch.x"], ["base.x"], ["text_branch.x"]),
        (["ss_model.film.x"], ["film.x"], []),
        (["base.x", "film.y"], ["base.x", "film.y"], []),
        (["module.base.x", "module.film.y"], ["base.x", "film.y"], []),
        (["text_branch.x", "logit_scale_a"], [], ["text_branch.x", "logit_scale_a"]),
        (["module.audio_branch.x", "module.text_branch.y"], [], ["audio_branch.x", "text_branch.y"]),
        (["query_encoder.model.text_branch.x"], [], ["text_branch.x"]),
    ],
)
def test_weights_are_recognized_in_every_format(form, names, separator, tower, tmp_path):
    opened = open_source(write(tmp_path / "file.of.any.name", names, form=form))
    assert isinstance(opened, Tensors)
    assert set(opened.separator) == set(separator)
    assert set(opened.tower) == set(tower)
    assert opened.unknown == ()
    released = {f"ss_model.{name}" for name in separator} | {f"query_encoder.model.{name}" for name in tower}
    assert set(opened.order) == released


def test_names_that_belong_to_neither_are_kept_for_the_report(tmp_path):
    opened = open_source(
        write(tmp_path / "x.ckpt", ["ss_model.base.x", "query_encoder.other", "loss.weight"])
    )
    assert isinstance(opened, Tensors)
    assert opened.unknown == ("query_encoder.other", "loss.weight")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"state": {}, "param_groups": []}, "is the state of an optimizer"),
        ({"epoch": 3, "best": 1.5}, "holds no state dict: its keys are epoch, best."),
        ({}, "holds no weights"),
        ([ONE], "holds no weights"),
        ({"state_dict": {}}, "holds no weights"),
        ({"state_dict": {"ss_model.x": ONE, "y": 3}}, "entries of its state_dict are not tensors: y."),
        ({"text_model.x": ONE, "vision_model.y": ONE}, "named as transformers names them"),
        ({"bert.encoder.x": ONE}, "named as transformers names them"),
        ({"down_blocks.0.weight": ONE}, "looks like an image diffusion model"),
        (
            {"features.0.weight": ONE},
            "is not AudioSep and not LAION's CLAP: its tensors are called features.0",
        ),
    ],
)
def test_other_pytorch_files_are_named(content, said, tmp_path):
    torch_writer.write(tmp_path / "x.ckpt", content)
    with pytest.raises(AudioSepError) as error:
        open_source(tmp_path / "x.ckpt")
    assert said in str(error.value)


def folder(path, config, **files):
    path.mkdir()
    if config is not None:
        (path / "config.json").write_text(json.dumps(config))
    for name, text in files.items():
        (path / name.replace("__", ".")).write_text(text)
    return path


def test_folders_are_known_by_their_config(tmp_path):
    ours = folder(tmp_path / "ours", {"model": {}, "query": {}})
    assert isinstance(open_source(ours), CheckpointFolder)
    kinds = {"clap": "clap", "clip": "clip", "bert": "sentence", "laion_clap": "clap"}
    for model_type, encoder in kinds.items():
        place = folder(tmp_path / model_type, {"model_type": model_type})
        save_file({"x": ONE}, place / "model.safetensors")
        opened = open_source(place)
        assert isinstance(opened, TowerFolder)
        assert (opened.encoder, opened.model_type, list(opened.tensors)) == (encoder, model_type, ["x"])


def test_older_weights_of_transformers_are_read_as_well(tmp_path):
    place = folder(tmp_path / "old", {"model_type": "clip"})
    torch_writer.write(place / "pytorch_model.bin", OrderedDict(x=ONE))
    opened = open_source(place)
    assert isinstance(opened, TowerFolder)
    np.testing.assert_array_equal(opened.tensors["x"], ONE)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: folder(path, None, model_index__json="{}"), "is a folder of diffusers"),
        (lambda path: folder(path, None), "it holds no weights either"),
        (lambda path: folder(path, None, clap__pt="x"), "name the file itself: clap.pt"),
        (lambda path: folder(path, {"model_type": "t5"}), "config.json of model_type 't5'"),
        (lambda path: folder(path, {}), "config.json of model_type None"),
        (lambda path: folder(path, {"model_type": "clip"}), "has neither model.safetensors nor"),
        (lambda path: folder(path, None, config__json="{"), "is not a readable JSON file"),
        (
            lambda path: folder(path, {"model_type": "clip"}, model__safetensors__index__json="{}"),
            "has no weight_map",
        ),
        (
            lambda path: folder(
                path,
                {"model_type": "clip"},
                model__safetensors__index__json='{"weight_map": {"x": "../y", "z": "absent"}}',
            ),
            'names missing files or tensors: "../y", "absent"',
        ),
    ],
)
def test_other_folders_are_named(make, said, tmp_path):
    make(tmp_path / "place")
    with pytest.raises(AudioSepError) as error:
        open_source(tmp_path / "place")
    assert said in str(error.value)
    assert str(tmp_path / "place") in str(error.value)


def test_a_shard_that_lacks_a_tensor_is_named(tmp_path):
    index = '{"weight_map": {"x": "part.safetensors", "y": "part.safetensors"}}'
    place = folder(tmp_path / "shards", None, model__safetensors__index__json=index)
    save_file({"x": ONE}, place / "part.safetensors")
    with pytest.raises(AudioSepError, match=r"names missing files or tensors: y in part\.safetensors"):
        open_source(place)


DTYPES = ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?")


def test_streamed_safetensors_are_those_of_the_library(tmp_path):
    draw = np.random.default_rng(0)
    tensors = {
        f"{kind}{index}": (100 * draw.random(shape)).astype(kind)
        for index, shape in enumerate([(), (0, 3), (5,), (2, 3, 4)])
        for kind in DTYPES
    }
    tensors["transposed"] = np.arange(6, dtype=np.float32).reshape(2, 3).T
    metadata = {"format": "pt", "note": "ß"}
    safetensors_file.write(tmp_path / "ours.safetensors", tensors, metadata=metadata)
    contiguous = {name: np.ascontiguousarray(value).reshape(value.shape) for name, value in tensors.items()}
    save_file(contiguous, tmp_path / "theirs.safetensors", metadata=metadata)
    from safetensors.numpy import load_file

    theirs = load_file(tmp_path / "ours.safetensors")
    for path in ("ours.safetensors", "theirs.safetensors"):
        ours = safetensors_file.TensorFile(tmp_path / path)
        assert ours.metadata == metadata
        assert ours.shapes == {name: value.shape for name, value in tensors.items()}
        assert set(ours) == set(theirs) == set(tensors)
        for name, value in tensors.items():
            for read in (ours[name], theirs[name]):
                assert (read.dtype, read.shape) == (value.dtype, value.shape)
                np.testing.assert_array_equal(read, value)


@pytest.mark.parametrize("damage", [b"", b"\xff" * 50, None])
def test_damaged_safetensors_are_named(damage, tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"x": ONE}, path)
    path.write_bytes(path.read_bytes()[:-3] if damage is None else damage)
    with pytest.raises(AudioSepError, match=r"x\.safetensors is damaged or not a safetensors file"):
        safetensors_file.TensorFile(path)
