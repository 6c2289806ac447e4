"""Files that attack their reader: they are refused with a sentence, and none of their code runs."""

import json
import os
import pickle
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

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
    """Reaches a function through a harmless module."""
    names = text("argparse") + text("_os.system")
    return b"\x80\x04" + names + b"\x93" + text(f"touch {marker}") + b"\x85R."


def through_the_memo(marker):
    """The function goes to the memo and is called much later among harmless operations."""
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
    hidden_in_lightning: "argparse._os.system",
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


def test_all_refused_names_are_listed_at_once(tmp_path):
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
    with pytest.raises(AudioSepError, match="expands to far more than its size"):
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
def test_nonsense_is_reported_as_damage(operations, tmp_path):
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
    """PyTorch can be told to compute no checksum; any other wrong one means damage."""
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


def doubled(times):
    """A tuple of two tuples of two tuples …: sixty bytes in memory, and 2^times parts to walk."""
    return b")" + b"q\x01h\x01\x86" * times


def long_text(letters):
    return text("x" * letters)


def shape_of_doublings():
    return in_state_dict(tensor().replace(b"(" + number(4) + b"t(", doubled(60) + b"\x85(", 1))


def offset_of_doublings():
    return in_state_dict(tensor().replace(number(0), doubled(60), 1))


def persistent_id_of_doublings():
    return b"\x80\x02" + doubled(60) + b"Q."


def key_of_references_to_one_text():
    return b"\x80\x02}" + long_text(5 << 20) + b"q\x000(" + b"h\x00" * 300_000 + b"tNs."


def key_that_is_hashed_again_and_again():
    key = b"(" + b"N" * 300_000 + b"tq\x000"
    return b"\x80\x02}" + key + b"h\x00Ns" * 200_000 + b"."


def number_that_is_hashed_again_and_again():
    digits = b"\x8b" + struct.pack("<i", 4 << 20) + b"\x7f" * (4 << 20) + b"q\x000"
    return b"\x80\x02}" + digits + b"h\x00Ns" * 200_000 + b"."


def sizes_of_one_long_list():
    shape = b"](" + b"N" * 1_000_000 + b"eq\x000"
    size = b"ctorch\nSize\nq\x010"
    return b"\x80\x02" + shape + size + b"h\x01h\x00\x85R" * 500_000 + b"."


def calls_with_a_million_arguments():
    build = b"ctorch._utils\n_rebuild_parameter\nq\x000"
    arguments = b"(" + tensor() + b"N" * 1_000_000 + b"tq\x010"
    return b"\x80\x02" + build + arguments + b"h\x00h\x01R0" * 500_000 + b"N."


def class_names_of_one_long_text():
    return b"\x80\x02" + long_text(4 << 20) + b"q\x000" + b"h\x00h\x00\x930" * 400_000 + b"N."


def other_keys_of_one_long_text():
    """A dict that is no state dict, with keys that fill any terminal."""
    return b"\x80\x02}(" + b"".join(text(f"{i}" + "x" * 99_999) + b"N" for i in range(60)) + b"u."


def long_storage_name():
    return in_state_dict(tensor(key="x" * (4 << 20)))


def terminal_codes_as_a_class():
    return b"\x80\x02c\x1b[31mevil\x1b]0;owned\x07\nrun\n)R."


def terminal_codes_as_a_tensor():
    return b"\x80\x02}" + text("\x1b[31mevil") + tensor() + b"s."


def terminal_codes_as_a_key():
    return b"\x80\x02}" + text("\x1b[31mevil\n") + b"Ns."


def terminal_codes_as_no_tensor():
    return b"\x80\x02}" + text("state_dict") + b"}(" + text("\x1b[31m") + b"N" + text("x") + tensor() + b"us."


def terminal_codes_as_a_storage():
    return in_state_dict(tensor(key="\x1b[31m"))


def long_name_of_a_tensor():
    return b"\x80\x02}" + text("x" * 501) + tensor() + b"s."


def number_as_the_name_of_a_tensor():
    return b"\x80\x02}" + number(7) + tensor() + b"s."


def nonsense_that_python_quotes():
    return b"\x80\x02I" + b"9" * 4_000_000 + b"\x1b[31m\n."


EXHAUSTING = {
    shape_of_doublings: "shape, strides or offset are not sizes",
    offset_of_doublings: "shape, strides or offset are not sizes",
    persistent_id_of_doublings: "is damaged or cut short",
    key_of_references_to_one_text: "a key of an unusual type",
    key_that_is_hashed_again_and_again: "a key of an unusual type",
    number_that_is_hashed_again_and_again: "a key of an unusual type",
    sizes_of_one_long_list: "a size with unusual arguments",
    calls_with_a_million_arguments: "a call with too many arguments",
    class_names_of_one_long_text: "a name that is too long for a class",
    other_keys_of_one_long_text: "holds no state dict: its keys are 0xxx",
    long_storage_name: "a storage whose name is too long",
    terminal_codes_as_a_class: r"asks for '\x1b[31mevil\x1b]0;owned\x07.run'",
    terminal_codes_as_a_tensor: r"\x1b[31mevil",
    terminal_codes_as_a_key: r"its keys are '\x1b[31mevil\n'",
    terminal_codes_as_no_tensor: r"entries of its state_dict are not tensors: '\x1b[31m'",
    terminal_codes_as_a_storage: r"there is no storage '\x1b[31m'",
    long_name_of_a_tensor: "which no model has",
    number_as_the_name_of_a_tensor: "a tensor whose name is not text",
    nonsense_that_python_quotes: "is damaged or cut short",
}

# Every file is read by a process of its own, which the kernel ends if it takes long or much.
READ = """
import json, os, resource, signal, sys
from audiosep_jax.checkpoints.source import open_source
from audiosep_jax.errors import AudioSepError
for path in sys.argv[1:]:
    sys.stdout.flush()
    child = os.fork()
    if not child:
        signal.alarm(5)
        resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
        try:
            open_source(path)
            said = "nothing"
        except AudioSepError as error:
            said = str(error)
        except BaseException as error:
            said = "traceback: " + type(error).__name__
        print(json.dumps([path, said]), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    place = tmp_path_factory.mktemp("exhausting")
    paths = [archive(place / f"{make.__name__}.pt", make(), method=zipfile.ZIP_STORED) for make in EXHAUSTING]
    command = [sys.executable, "-c", READ, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100)
    said = dict(json.loads(line) for line in done.stdout.splitlines())
    return {path.stem: said.get(str(path), "ended by the kernel") for path in paths}


@pytest.mark.parametrize("attack", EXHAUSTING, ids=lambda attack: attack.__name__)
def test_what_would_fill_memory_time_or_terminal_is_refused_in_a_short_sentence(attack, answers):
    said = answers[attack.__name__]
    assert f"{attack.__name__}.pt" in said
    assert EXHAUSTING[attack] in said
    assert len(said) < 3000
    assert said.isprintable()


def test_the_doublings_of_these_tests_are_what_they_say(tmp_path):
    assert pickle.loads(b"\x80\x02" + doubled(2) + b".") == (((), ()), ((), ()))


@pytest.mark.parametrize("name", ["\x1b[31mevil", "x" * 501])
def test_names_in_safetensors_reach_no_terminal_either(name, tmp_path):
    save_file({name: np.ones(2, np.float32)}, tmp_path / "x.safetensors")
    with pytest.raises(AudioSepError, match="which no model has") as error:
        open_source(tmp_path / "x.safetensors")
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 500


def test_running_out_of_memory_is_no_traceback(tmp_path, monkeypatch):
    def full(*_, **__):
        raise MemoryError

    monkeypatch.setattr(torch_file, "load", full)
    with pytest.raises(AudioSepError, match="describes more than fits into the memory"):
        torch_file.read(archive(tmp_path / "x.pt", b"N."))
