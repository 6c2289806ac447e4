"""PyTorch files: real ones are read, ours are built like them, damaged and other ones are named."""

import pickletools
import zipfile
from collections import OrderedDict
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audiosep_jax.checkpoints import torch_file, torch_writer
from audiosep_jax.checkpoints.source import open_source
from audiosep_jax.checkpoints.torch_pickle import Inert
from audiosep_jax.errors import AudioSepError

RECORDED = Path(__file__).parents[1] / "data" / "torch_files"

GRID = np.arange(12, dtype=np.float32).reshape(3, 4)
# What make_torch_files.py saved.
EXPECTED = {
    "float32": np.arange(6, dtype=np.float32).reshape(2, 3) / 4,
    "float64": np.arange(3, dtype=np.float64) / 7,
    "float16": np.arange(6).astype(np.float16) / np.float16(4),
    "bfloat16": (np.arange(5) / 2).astype(ml_dtypes.bfloat16),
    "int64": np.arange(4) - 2,
    "int32": np.arange(3, dtype=np.int32),
    "uint8": np.arange(3, dtype=np.uint8),
    "uint16": np.arange(3, dtype=np.uint16),
    "bool": np.array([True, False]),
    "zero_dim": np.array(7),
    "empty": np.zeros((0, 3), np.float32),
    "parameter": np.arange(3, dtype=np.float32) / 8,
    "whole": GRID,
    "row": GRID[1],
    "transposed": GRID.T,
    "strided": GRID[::2, 1::2],
    "convolution": np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4),
}


def test_every_kind_of_tensor_of_a_real_file_is_read():
    content = torch_file.read(RECORDED / "all.pt")
    assert isinstance(content["state_dict"], OrderedDict)
    assert (content["epoch"], content["rate"], content["rest"]) == (3, 1e-3, ["a", ("b", None)])
    assert list(content["state_dict"]) == list(EXPECTED)
    for name, expected in EXPECTED.items():
        tensor = content["state_dict"][name]
        value = tensor.read()
        assert tensor.shape == value.shape == expected.shape, name
        assert tensor.dtype == value.dtype == expected.dtype, name
        np.testing.assert_array_equal(value, expected, err_msg=name)
        assert not value.flags.writeable


def test_tensors_are_views_of_the_file():
    tensors = torch_file.read(RECORDED / "all.pt")["state_dict"]
    whole, row = tensors["whole"].read(), tensors["row"].read()
    assert np.may_share_memory(whole, tensors["whole"]._storage.file.bytes)
    assert np.shares_memory(whole, row)


def test_other_entries_of_lightning_are_accepted():
    content = torch_file.read(RECORDED / "lightning.ckpt")
    names = ["0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var"]
    assert list(content["state_dict"]) == [*names, "1.num_batches_tracked"]
    assert content["state_dict"]["1.num_batches_tracked"].read() == 1
    np.testing.assert_array_equal(content["optimizer_states"][0]["state"][0]["step"].read(), np.float32(1))
    left = content["hyper_parameters"]
    assert isinstance(left["args"], Inert)
    assert left["shape"] == (2, 3)
    assert left["big"] == 1 << 70


def operations(path):
    """The pickle of a file without its memo operations."""
    values, memo = [], {}
    with zipfile.ZipFile(path) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        data = archive.read(name)
    last = None
    for opcode, argument, _ in pickletools.genops(data):
        if "PUT" in opcode.name:
            memo[argument] = last
        elif "GET" in opcode.name:
            values.append(memo[argument])
        else:
            last = (opcode.name, argument)
            values.append(last)
    return values


def test_our_files_are_built_like_those_of_pytorch(tmp_path):
    ours, theirs = tmp_path / "ours.pt", RECORDED / "two.pt"
    torch_writer.write(ours, OrderedDict(weight=np.ones(2, np.float32), count=np.array(3)))
    assert operations(ours) == operations(theirs)
    with zipfile.ZipFile(ours) as one, zipfile.ZipFile(theirs) as other:
        entries = {}
        for archive in (one, other):
            for entry in archive.infolist():
                name = entry.filename.partition("/")[2]
                entries.setdefault(name, []).append(archive.read(entry))
                assert entry.compress_type == zipfile.ZIP_STORED
    # PyTorch's own fingerprint of the file is the only entry that readers do without.
    del entries[".data/serialization_id"], entries["data.pkl"]
    for name, contents in entries.items():
        assert len(contents) == 2, name
        assert contents[0] == contents[1], name


def starts(path):
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            header = path.read_bytes()[entry.header_offset : entry.header_offset + 30]
            lengths = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
            yield entry.filename, entry.header_offset + 30 + lengths


@pytest.mark.parametrize("make", ["ours", "theirs"])
def test_tensors_lie_at_multiples_of_64_bytes(make, tmp_path):
    path = RECORDED / "all.pt"
    if make == "ours":
        path = tmp_path / "ours.pt"
        torch_writer.write(path, {f"x{n}": np.zeros(n, np.uint8) for n in range(1, 80, 7)})
    for name, start in starts(path):
        assert start % 64 == 0, name


DTYPES = st.sampled_from(
    [
        *(np.dtype(name) for name in ["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u1", "?"]),
        np.dtype(ml_dtypes.bfloat16),
    ]
)
SHAPES = st.lists(st.integers(0, 4), max_size=4).map(tuple)
SCALARS = (
    st.none() | st.booleans() | st.integers(-(1 << 70), 1 << 70) | st.floats(allow_nan=False) | st.text()
)


@st.composite
def arrays(draw):
    dtype, shape = draw(DTYPES), draw(SHAPES)
    size = int(np.prod(shape)) * dtype.itemsize
    data = draw(st.binary(min_size=size, max_size=size))
    if dtype == np.bool_:
        data = bytes(byte % 2 for byte in data)
    array = np.frombuffer(data, dtype).reshape(shape)
    return array.T if draw(st.booleans()) else array


CONTENTS = st.recursive(
    SCALARS | arrays(),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.lists(inner, max_size=5).map(tuple)
        | st.dictionaries(st.text(max_size=3), inner, max_size=4)
        | st.dictionaries(st.text(max_size=3), inner, max_size=4).map(OrderedDict)
    ),
    max_leaves=12,
)


def assert_same(read, written):
    if isinstance(written, np.ndarray):
        assert isinstance(read, torch_file.TorchTensor)
        assert (read.dtype, read.shape) == (written.dtype, written.shape)
        assert read.read().tobytes() == written.tobytes()
        return
    assert type(read) is type(written)
    if isinstance(written, dict):
        assert list(read) == list(written)
        for key, value in written.items():
            assert_same(read[key], value)
    elif isinstance(written, list | tuple):
        assert len(read) == len(written)
        for one, other in zip(read, written, strict=True):
            assert_same(one, other)
    else:
        assert read == written


@settings(max_examples=40)
@given(content=CONTENTS)
def test_a_written_file_is_read_bit_for_bit(content, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "content.pt"
    torch_writer.write(path, content)
    assert_same(torch_file.read(path), content)


def test_a_type_that_pytorch_lacks_is_named(tmp_path):
    with pytest.raises(AudioSepError, match="type complex64 has no counterpart"):
        torch_writer.write(tmp_path / "x.pt", {"x": np.zeros(2, np.complex64)})


def rezipped(source, target, *, method=zipfile.ZIP_DEFLATED, change=lambda name, data: data):
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", method) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return target


def test_a_file_that_was_compressed_afterwards_is_read(tmp_path):
    path = rezipped(RECORDED / "all.pt", tmp_path / "small.pt")
    tensors = torch_file.read(path)["state_dict"]
    for name, expected in EXPECTED.items():
        np.testing.assert_array_equal(tensors[name].read(), expected)


def read_all(path):
    content = torch_file.read(path)
    return [tensor.read() for tensor in content["state_dict"].values()]


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.7, 0.99])
def test_a_file_that_was_cut_short_is_named(share, tmp_path):
    path = tmp_path / "cut.pt"
    data = (RECORDED / "all.pt").read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(AudioSepError, match=r"cut\.pt is (empty|damaged or cut short|neither)"):
        open_source(path)


def test_flipped_bits_are_noticed_wherever_they_matter(tmp_path):
    data = (RECORDED / "all.pt").read_bytes()
    expected = [value.tobytes() for value in read_all(RECORDED / "all.pt")]
    path = tmp_path / "flipped.pt"
    refused = 0
    for place in range(0, len(data), 29):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :])
        try:
            assert [value.tobytes() for value in read_all(path)] == expected
        except AudioSepError:
            refused += 1
    assert refused > 30


def big_endian(name, data):
    return b"big" if name.endswith("byteorder") else data


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.write_bytes((RECORDED / "legacy.pt").read_bytes()), "PyTorch before 1.6"),
        (lambda path: path.write_bytes((RECORDED / "script.pt").read_bytes()), "is a TorchScript program"),
        (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(80)), "but a PNG image"),
        (lambda path: path.write_bytes(b"\xff\xd8\xff\xe0" + bytes(80)), "but a JPEG image"),
        (lambda path: path.write_bytes(b"RIFF" + bytes(80)), "but a WAV or WebP file"),
        (lambda path: path.write_bytes(b"\n<!DOCTYPE html><html>"), "the download went wrong"),
        (lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n"), "git lfs pull"),
        (lambda path: path.write_bytes(b"\x80\x04N."), "is a bare Python pickle"),
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: path.write_bytes(b"\x01\x02" * 200), "is neither a PyTorch nor"),
        (lambda path: zipfile.ZipFile(path, "w").writestr("x.npy", b"x"), "not one that torch.save wrote"),
        (lambda path: rezipped(RECORDED / "all.pt", path, change=big_endian), "big-endian"),
        (
            lambda path: rezipped(RECORDED / "all.pt", path, method=zipfile.ZIP_BZIP2),
            "compressed in an unknown way",
        ),
    ],
)
def test_other_files_are_named_for_what_they_are(make, said, tmp_path):
    path = tmp_path / "model.ckpt"
    make(path)
    with pytest.raises(AudioSepError) as error:
        open_source(path)
    assert said in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
