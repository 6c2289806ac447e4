"""Files that attack whoever reads them: refused with a sentence, and nothing of them has run."""

import os
import pickle
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audiosep_jax.checkpoints import torch_file, torch_writer
from audiosep_jax.checkpoints.source import open_source
from audiosep_jax.errors import AudioSepError


def archive(path, pickled, storages=(b"\0" * 16,), *, root="archive", method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr(f"{root}/data.pkl", pickled)
        file.writestr(f"{root}/version", b"3\n")
        for key, content in enumerate(storages):
            file.writestr(f"{root}/data/{key}", content)
    return path


def text(value):
    encoded = value.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def in_state_dict(operations):
    """A file whose state dict has one entry, built by these operations."""
    return b"\x80\x02}(" + text("state_dict") + b"}" + text("x") + operations + b"su."


class Attack:
    """Pickled by Python itself; unpickling calls a function."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def shell(marker):
    return pickle.dumps({"state_dict": {"x": Attack(os.system, f"touch {marker}")}}, protocol=2)


def builtin_eval(marker):
    return pickle.dumps({"state_dict": {}, "epoch": Attack(eval, f"open({str(marker)!r}, 'w').close()")})


def inst(marker):
    return b"(S'touch " + str(marker).encode() + b"'\nios\nsystem\n."


def obj(marker):
    return b"(cos\nsystem\n" + text(f"touch {marker}") + b"o."


def nested_getattr(marker):
    """Getattr(os, 'system') of an imported module, as STACK_GLOBAL with a dotted name does it."""
    return b"\x80\x04" + text("os") + text("path.os.system") + b"\x93" + text(f"touch {marker}") + b"\x85R."


def hidden_in_lightning(marker):
    """A harmless module's name as the way to a function."""
    names = text("pathlib") + text("os.system")
    return b"\x80\x04" + names + b"\x93" + text(f"touch {marker}") + b"\x85R."


def through_the_memo(marker):
    """The function is put away, and called much later among harmless operations."""
    return b"\x80\x02cos\nsystem\nq\x07N0]q\x0800h\x07" + text(f"touch {marker}") + b"\x85R."


def build(marker):
    """BUILD calls __setstate__ of the object: here, that of a partial, which becomes os.system."""
    partial = b"cfunctools\npartial\ncos\ngetcwd\n\x85R"
    state = b"(cos\nsystem\n" + text(f"touch {marker}") + b"\x85}Nt"
    return b"\x80\x02" + partial + state + b"b)R."


ATTACKS = {
    shell: "system",
    builtin_eval: "eval",
    inst: "os.system",
    obj: "os.system",
    nested_getattr: "os.path.os.system",
    hidden_in_lightning: "pathlib.os.system",
    through_the_memo: "os.system",
    build: "functools.partial",
}


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_an_attack_is_refused_by_name_and_does_not_run(attack, tmp_path):
    marker = tmp_path / "marker"
    pickled = attack(marker)
    pickle.loads(pickled)
    assert marker.exists(), "this is no attack"
    marker.unlink()
    path = archive(tmp_path / "model.ckpt", pickled)
    with pytest.raises(AudioSepError, match="it may be an attack") as error:
        open_source(path)
    assert ATTACKS[attack] in str(error.value)
    assert str(path) in str(error.value)
    assert not marker.exists()


def test_all_names_that_are_refused_are_given_at_once(tmp_path):
    pickled = b"\x80\x02cos\nsystem\ncbuiltins\nexec\nccollections\nOrderedDict\ncsubprocess\nPopen\n."
    with pytest.raises(AudioSepError, match=r"asks for os\.system, builtins\.exec, subprocess\.Popen: "):
        torch_file.read(archive(tmp_path / "x.pt", pickled))


@pytest.mark.parametrize("opcode", [b"\x82\x05", b"\x83\x05\x00", b"\x84\x05\x00\x00\x00"])
def test_the_extension_registry_is_not_asked(opcode, tmp_path):
    import copyreg

    copyreg.add_extension("os", "getcwd", 5)
    try:
        pickled = b"\x80\x02" + opcode + b")R."
        assert pickle.loads(pickled) == os.getcwd()
        with pytest.raises(AudioSepError, match="entry 5 of the extension registry"):
            torch_file.read(archive(tmp_path / "x.pt", pickled))
    finally:
        copyreg.remove_extension("os", "getcwd", 5)


@pytest.mark.parametrize(
    "name",
    [
        "pytorch_lightning.trainer.os.system",
        "lightning.pytorch.callbacks.evil_function",
        "torch.hub.load",
        "torch.load",
        "torch.storage._load_from_bytes",
        "numpy.load",
        "builtins.getattr",
        "importlib.import_module",
        "audiosep_jax.checkpoints.folder.save",
    ],
)
def test_functions_of_trusted_packages_are_not_trusted(name, tmp_path):
    module, _, function = name.rpartition(".")
    pickled = b"\x80\x02c" + f"{module}\n{function}\n".encode() + b")R."
    with pytest.raises(AudioSepError, match=f"asks for {name}: "):
        torch_file.read(archive(tmp_path / "x.pt", pickled))


def number(value):
    return b"J" + struct.pack("<i", value)


def tensor(*, key="0", count=4, offset=0, shape=(4,), strides=(1,)):
    storage = (
        b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(key) + text("cpu") + number(count) + b"tQ"
    )
    sizes = b"(" + b"".join(map(number, shape)) + b"t(" + b"".join(map(number, strides)) + b"t"
    hooks = b"ccollections\nOrderedDict\n)R"
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + number(offset) + sizes + b"\x89" + hooks + b"tR"
    )


def test_the_tensors_of_these_tests_are_otherwise_sound(tmp_path):
    path = archive(tmp_path / "x.pt", in_state_dict(tensor()))
    assert torch_file.read(path)["state_dict"]["x"].read().shape == (4,)


@pytest.mark.parametrize(
    "change",
    [
        {"offset": 1},
        {"offset": -1},
        {"offset": 1 << 30},
        {"shape": (5,)},
        {"shape": (-4,)},
        {"shape": (2, 3), "strides": (3, 1)},
        {"strides": (-1,)},
        {"strides": (2,)},
        {"strides": (0,)},
        {"shape": (1 << 30, 1 << 30), "strides": (0, 0)},
        {"shape": (2, 2), "strides": (1, 1)},
        {"shape": (3, 2), "strides": (1, 1)},
        {"shape": (2, 2), "strides": (2,)},
        {"shape": (1,) * 40, "strides": (1,) * 40},
        {"count": 5},
        {"count": -1},
        {"key": "1"},
        {"key": "../data.pkl"},
        {"key": "/etc/passwd"},
    ],
    ids=str,
)
def test_a_tensor_outside_of_its_storage_is_refused(change, tmp_path):
    path = archive(tmp_path / "x.pt", in_state_dict(tensor(**change)))
    with pytest.raises(AudioSepError, match="is damaged or cut short"):
        torch_file.read(path)


@pytest.mark.parametrize("root", ["../../etc", "/etc", "a/b", "..\\x"])
def test_names_like_paths_lead_nowhere(root, tmp_path):
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    path = archive(inner / "x.pt", in_state_dict(tensor()), root=root)
    before = sorted(tmp_path.rglob("*"))
    try:
        assert torch_file.read(path)["state_dict"]["x"].read().sum() == 0
    except AudioSepError as error:
        assert "not one that torch.save wrote" in str(error)  # noqa: PT017
    assert sorted(tmp_path.rglob("*")) == before


def test_two_entries_of_one_name_are_refused(tmp_path):
    path = tmp_path / "x.pt"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/data.pkl", in_state_dict(tensor()))
        file.writestr("a/data/0", bytes(16))
        with pytest.warns(UserWarning, match="Duplicate name"):
            file.writestr("a/data/0", bytes(16))
    with pytest.raises(AudioSepError, match="two entries have one name"):
        torch_file.read(path)


def test_a_zip_bomb_does_not_fill_the_memory(tmp_path):
    bomb = bytes(64 << 20)
    path = archive(
        tmp_path / "x.pt",
        in_state_dict(tensor(count=len(bomb) // 4, shape=(len(bomb) // 4,))),
        (bomb,),
        method=zipfile.ZIP_DEFLATED,
    )
    assert path.stat().st_size < 100_000
    with pytest.raises(AudioSepError, match="grows beyond measure"):
        torch_file.read(path)["state_dict"]["x"].read()


def lie_about_size(path, size):
    """Changes the size that the archive states for its first entry."""
    data = bytearray(path.read_bytes())
    place = data.index(b"PK\x01\x02")
    data[place + 24 : place + 28] = struct.pack("<I", size)
    path.write_bytes(data)
    return path


def test_an_absurd_description_is_not_read(tmp_path):
    path = archive(tmp_path / "x.pt", b"N0" * (5 << 20) + b"N.", method=zipfile.ZIP_DEFLATED)
    with pytest.raises(AudioSepError, match=r"entry 'archive/data\.pkl' has 10485762 bytes"):
        torch_file.read(path)
    path = archive(tmp_path / "y.pt", b"N0" * (5 << 20) + b"N.", method=zipfile.ZIP_DEFLATED)
    with pytest.raises(AudioSepError, match="does not match its checksum"):
        torch_file.read(lie_about_size(path, 1000))


@pytest.mark.parametrize(
    "operations",
    [
        b"\x8e" + struct.pack("<Q", 1 << 60) + b"x",  # bytes of an absurd length
        b"\x8b" + struct.pack("<i", 1 << 30),  # a number of a gigabyte
        b"r" + struct.pack("<I", 0xFFFFFFFF),  # the memo at its last place, of nothing
        b"j" + struct.pack("<I", 0xFFFFFFFF),
        b"u",
        b"t",
        b"0",
        b"NQ",
        b"(NNNtQ",
        b"NNR",
        b"]]a]s",
        b"}]Ns",
        b"Nb",
        b"\x97",
        b"\x98",
        b"Px\n",
        b"",
        b"\x80\x09",
    ],
    ids=repr,
)
def test_nonsense_is_damage_and_no_crash(operations, tmp_path):
    path = archive(tmp_path / "x.pt", b"\x80\x02" + operations + b".")
    with pytest.raises(AudioSepError, match=r"x\.pt is damaged or cut short"):
        torch_file.read(path)


def test_depth_does_not_overflow_the_stack(tmp_path):
    deep = b"\x80\x02)" + b"\x85" * 200_000 + b"q\x00}h\x00Ns."
    with pytest.raises(AudioSepError, match="a key of an unusual type"):
        torch_file.read(archive(tmp_path / "x.pt", deep))
    lists = b"\x80\x02]" + b"(]" * 100_000 + b"l" * 100_000 + b"."
    with pytest.raises(AudioSepError):
        open_source(archive(tmp_path / "y.pt", lists))


def sound_pickle(tmp):
    path = tmp / "sound.pt"
    torch_writer.write(path, torch_writer.lightning_checkpoint({"x": np.ones(4, np.float32)}))
    with zipfile.ZipFile(path) as file:
        return file.read("archive/data.pkl")


@settings(max_examples=60)
@given(
    changes=st.lists(
        st.tuples(st.integers(0, 400), st.binary(min_size=1, max_size=3)), min_size=1, max_size=4
    )
)
def test_mutated_descriptions_give_a_value_or_a_sentence(changes, tmp_path_factory):
    base = tmp_path_factory.getbasetemp()
    data = bytearray(sound_pickle(base))
    for place, value in changes:
        place %= len(data)
        data[place : place + len(value)] = value
    path = archive(base / "mutated.pt", bytes(data))
    try:
        open_source(path)
    except AudioSepError as error:
        assert "mutated.pt" in str(error)  # noqa: PT017


def test_a_checksum_of_zero_is_none(tmp_path):
    """PyTorch can be told to compute none; any other wrong one means damage."""
    path = archive(tmp_path / "x.pt", in_state_dict(tensor()), (b"\1" * 16,))
    data = bytearray(path.read_bytes())
    place = data.rindex(struct.pack("<I", zlib.crc32(b"\1" * 16)))
    data[place : place + 4] = bytes(4)
    Path(path).write_bytes(data)
    assert torch_file.read(path)["state_dict"]["x"].read().tobytes() == b"\1" * 16
    data[place] = 1
    Path(path).write_bytes(data)
    with pytest.raises(AudioSepError, match="does not match its checksum"):
        torch_file.read(path)["state_dict"]["x"].read()
