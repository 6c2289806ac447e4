"""Back to PyTorch: an imported model bit for bit, and one trained here with the reference's constants."""

import dataclasses
import shutil
from collections import OrderedDict

import golden
import ml_dtypes
import numpy as np
import pytest
import released_files
from released_files import SMALL
from safetensors.numpy import save_file

from audiosep_jax.checkpoints import folder, pytorch_constants, torch_file, torch_writer
from audiosep_jax.checkpoints.from_pytorch import convert
from audiosep_jax.checkpoints.pytorch_names import from_pytorch
from audiosep_jax.checkpoints.to_pytorch import to_lightning
from audiosep_jax.config import ExperimentConfig, QueryConfig
from audiosep_jax.errors import AudioSepError


def read(path):
    return {name: tensor.read() for name, tensor in torch_file.read(path)["state_dict"].items()}


def assert_identical(read, expected):
    assert list(read) == list(expected)
    for name, value in expected.items():
        assert (read[name].dtype, read[name].shape) == (value.dtype, value.shape), name
        assert read[name].tobytes() == value.tobytes(), name


@pytest.fixture(scope="module")
def tensors():
    """A released state dict; signed zeros, subnormal and the largest numbers survive as well."""
    tensors = released_files.state_dict()
    odd = np.array([0x80000000, 0x00000001, 0xFF7FFFFF], np.uint32).view(np.float32)
    tensors["ss_model.base.after_conv.bias"] = odd
    return tensors


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return str(released_files.write_tokenizer(tmp_path_factory.mktemp("tokenizer")))


@pytest.fixture(scope="module")
def converted(tensors, tokenizer, tmp_path_factory):
    place = tmp_path_factory.mktemp("converted")
    released_files.write_lightning(place / "audiosep.ckpt", tensors)
    convert(place / "audiosep.ckpt", place / "model", preset="paper", tokenizer=tokenizer)
    return place / "model"


def test_import_and_export_give_the_same_bits(converted, tensors, tmp_path):
    result = to_lightning(converted, tmp_path / "back.ckpt")
    assert_identical(read(tmp_path / "back.ckpt"), tensors)
    assert "as they were imported" in result[0]
    unused = [name for name in tensors if "base.decoder_block" in name and ".conv_block2." not in name]
    assert sum(".bn2." in name for name in unused) == 6 * 5


def test_the_file_has_what_lightning_looks_for(converted, tmp_path):
    to_lightning(converted, tmp_path / "back.ckpt")
    content = torch_file.read(tmp_path / "back.ckpt")
    assert list(content) == [
        "epoch",
        "global_step",
        "pytorch-lightning_version",
        "state_dict",
        "loops",
        "callbacks",
        "optimizer_states",
        "lr_schedulers",
    ]
    assert isinstance(content["state_dict"], OrderedDict)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_comes_back_as_it_came(dtype, tokenizer, tmp_path):
    draw = np.random.default_rng(0)
    tensors = {
        name: value.astype(dtype) if value.dtype == np.float32 and draw.random() < 0.7 else value
        for name, value in released_files.state_dict().items()
    }
    torch_writer.write(tmp_path / "half.ckpt", torch_writer.lightning_checkpoint(tensors))
    convert(tmp_path / "half.ckpt", tmp_path / "model", preset="paper", tokenizer=tokenizer)
    to_lightning(tmp_path / "model", tmp_path / "back.ckpt")
    assert_identical(read(tmp_path / "back.ckpt"), tensors)


def test_any_order_and_any_selection_of_constants_come_back(tokenizer, tmp_path):
    tensors = released_files.state_dict()
    names = [name for name in tensors if not name.startswith("ss_model.base.istft")]
    np.random.default_rng(3).shuffle(names)
    shuffled = {name: tensors[name] for name in names}
    torch_writer.write(tmp_path / "x.ckpt", torch_writer.lightning_checkpoint(shuffled))
    convert(tmp_path / "x.ckpt", tmp_path / "model", preset="dcase", tokenizer=tokenizer)
    to_lightning(tmp_path / "model", tmp_path / "back.ckpt")
    assert_identical(read(tmp_path / "back.ckpt"), shuffled)


# Small kernels, where no PyTorch file of a known window is needed.
SHORT = dataclasses.replace(SMALL, window_length=128, hop_length=20)


def trained_here(place, **changes):
    """A folder without tensors from PyTorch."""
    config = ExperimentConfig(model=dataclasses.replace(SHORT, **changes))
    source = released_files.separator_tensors(SHORT)
    names = [name for name in source if not config.model.unused_tensors and is_unused(name)]
    separator = {name: value for name, value in source.items() if name not in names}
    folder.save(place, config, from_pytorch(config.model, separator))
    return place


def is_unused(name):
    module = name.replace("film.", "base.").replace("->", ".").split(".")
    return "decoder_block" in name and "conv_block2" not in name and module[2] in ("bn2", "beta2")


@pytest.mark.parametrize("unused_tensors", [True, False])
def test_a_model_that_was_trained_here_gets_the_references_constants(unused_tensors, tmp_path):
    to_lightning(trained_here(tmp_path / "model", unused_tensors=unused_tensors), tmp_path / "model.ckpt")
    exported = read(tmp_path / "model.ckpt")
    expected = released_files.state_dict(released_files.separator_tensors(SHORT), clap={})
    assert list(exported) == list(expected)
    for name, value in expected.items():
        assert exported[name].shape == value.shape, name
        assert exported[name].dtype == value.dtype, name
        if name.endswith("num_batches_tracked"):
            assert exported[name] == 0
        elif unused_tensors or not is_unused(name.removeprefix("ss_model.")):
            assert exported[name].tobytes() == value.tobytes(), name


@pytest.mark.parametrize("name", list(golden.CONFIGS))
def test_names_and_order_are_the_references(name):
    theirs = golden.keys()[name]
    assert [one for one in pytorch_constants.order() if one in theirs] == list(theirs)


def test_the_constants_are_an_stft_and_its_inverse():
    tensors = pytorch_constants.constants(SHORT)
    length = SHORT.window_length
    frame = np.random.default_rng(0).standard_normal(length).astype(np.float32)
    real = tensors["base.stft.conv_real.weight"][:, 0] @ frame
    imag = tensors["base.stft.conv_imag.weight"][:, 0] @ frame
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
    np.testing.assert_allclose(real + 1j * imag, np.fft.rfft(frame * window), atol=1e-3)
    whole = np.fft.fft(frame * window)
    back = tensors["base.istft.conv_real.weight"][..., 0] @ whole.real
    back -= tensors["base.istft.conv_imag.weight"][..., 0] @ whole.imag
    np.testing.assert_allclose(back, frame * window**2, atol=1e-4)
    np.testing.assert_allclose(tensors["base.istft.ola_window"], window**2, atol=1e-7)
    assert {value.dtype.name for value in tensors.values()} == {"float32", "int64"}


def test_a_tower_that_the_reference_does_not_know_is_left_out(tmp_path):
    place = trained_here(tmp_path / "model")
    loaded = folder.load(place)
    query = QueryConfig(encoder="sentence", source="sentence-transformers/all-MiniLM-L6-v2")
    folder.save(place, dataclasses.replace(loaded.config, query=query), loaded.variables)
    result = to_lightning(place, tmp_path / "model.ckpt")
    assert "all-MiniLM-L6-v2 is not written" in result[1]
    assert all(name.startswith("ss_model.") for name in read(tmp_path / "model.ckpt"))


def test_a_tower_that_was_deleted_is_left_out(converted, tensors, tmp_path):
    shutil.copytree(converted, tmp_path / "model")
    shutil.rmtree(tmp_path / "model" / "tower")
    result = to_lightning(tmp_path / "model", tmp_path / "model.ckpt")
    assert "tower is not written" in result[1]
    expected = {name: value for name, value in tensors.items() if name.startswith("ss_model.")}
    assert_identical(read(tmp_path / "model.ckpt"), expected)


def refused(tmp_path, source, said, target="x.ckpt"):
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(AudioSepError) as error:
        to_lightning(source, tmp_path / target)
    assert said in str(error.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_mistakes_are_named(converted, tmp_path):
    refused(tmp_path, converted / "tower", "is not a checkpoint folder of audiosep_jax")
    refused(tmp_path, tmp_path / "nowhere", "does not exist")
    (tmp_path / "there.ckpt").write_text("")
    refused(tmp_path, converted, "there.ckpt exists: choose another name", target="there.ckpt")
    refused(tmp_path, converted, "is a folder: give the name of a file", target=".")
    to_lightning(converted, tmp_path / "there.ckpt", overwrite=True)
    assert len(read(tmp_path / "there.ckpt")) > 300


@pytest.mark.parametrize("what", ["metadata", "another model", "window"])
def test_carried_tensors_of_another_model_are_refused(what, converted, tmp_path):
    shutil.copytree(converted, tmp_path / "model")
    file = tmp_path / "model" / "carried.safetensors"
    if what == "metadata":
        save_file({"x": np.zeros(2, np.float32)}, file)
    else:
        from audiosep_jax.utils import safetensors_file

        tensors = safetensors_file.TensorFile(file)
        carried = {name: np.array(value) for name, value in tensors.items()}
        if what == "window":
            carried["base.stft.conv_real.weight"] = np.zeros((1025, 1, 2048), np.float32)
        else:
            del carried["base.bn0.num_batches_tracked"]
        safetensors_file.write(file, carried, metadata=tensors.metadata)
    refused(tmp_path, tmp_path / "model", "carried.safetensors belongs to another model")
