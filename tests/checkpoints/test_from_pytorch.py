"""Conversion of PyTorch files to folders: exact weights, named problems, nothing written on error."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import OrderedDict
from pathlib import Path

import clap_folders
import golden
import jax
import numpy as np
import pytest
import released_files
from flax.traverse_util import flatten_dict
from released_files import CLAP, SMALL
from safetensors.numpy import load_file, save_file

import audiosep_jax
from audiosep_jax.checkpoints import finite, folder, torch_writer
from audiosep_jax.checkpoints.from_pytorch import convert
from audiosep_jax.checkpoints.pytorch_names import from_pytorch
from audiosep_jax.config import QueryConfig
from audiosep_jax.encoders.base import load_encoder
from audiosep_jax.encoders.clap import params
from audiosep_jax.encoders.clap.encoder import ClapEncoder
from audiosep_jax.errors import AudioSepError
from audiosep_jax.utils import safetensors_file

GOLDEN = Path(__file__).parents[1] / "data" / "golden"
DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="module")
def tensors():
    return released_files.state_dict()


@pytest.fixture(scope="module")
def files(tmp_path_factory, tensors):
    """A small released checkpoint, and a tokenizer beside it."""
    place = tmp_path_factory.mktemp("files")
    released_files.write_lightning(place / "audiosep.ckpt", tensors)
    released_files.write_tokenizer(place / "tokenizer")
    return place


@pytest.fixture(scope="module")
def converted(files):
    target = files / "converted"
    convert(files / "audiosep.ckpt", target, preset="paper", tokenizer=str(files / "tokenizer"))
    return target


def test_a_released_checkpoint_becomes_a_whole_folder(converted, tensors):
    names = sorted(path.relative_to(converted).as_posix() for path in converted.rglob("*") if path.is_file())
    assert names == [
        "carried.safetensors",
        "config.json",
        "model.safetensors",
        "tower/config.json",
        "tower/model.safetensors",
        "tower/tokenizer.json",
    ]
    assert all(path.stat().st_mode & 0o444 == 0o444 for path in converted.rglob("*"))
    loaded = folder.load(converted)
    assert loaded.config.model == SMALL
    assert loaded.config.query == QueryConfig(encoder="clap", source=str(converted / "tower"))
    bare = {name.removeprefix("ss_model."): value for name, value in tensors.items() if "ss_model." in name}
    expected = flatten_dict(from_pytorch(SMALL, bare))
    for path, value in flatten_dict(loaded.variables).items():
        assert value.tobytes() == np.ascontiguousarray(expected[path]).tobytes(), path


def test_tensors_that_the_model_does_not_use_are_carried(converted, tensors):
    carried = load_file(converted / "carried.safetensors")
    assert "base.stft.conv_real.weight" in carried
    assert "base.decoder_block3.bn2.num_batches_tracked" in carried
    for name, value in carried.items():
        original = tensors[f"ss_model.{name}"]
        assert value.dtype == original.dtype
        np.testing.assert_array_equal(value, original)


def test_the_tower_is_laions_tensors_untouched(converted, tensors):
    tower = load_file(converted / "tower" / "model.safetensors")
    prefix = "query_encoder.model."
    assert {prefix + name for name in tower} == {name for name in tensors if name.startswith(prefix)}
    for name, value in tower.items():
        assert value.dtype == tensors[prefix + name].dtype
        assert value.tobytes() == tensors[prefix + name].tobytes()


def test_the_converted_folder_works_wherever_it_is(converted, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.copytree(converted, moved)
    model = audiosep_jax.load(moved)
    condition = model.condition(query="a dog barks")
    assert condition.shape == (6,)
    np.testing.assert_allclose(np.linalg.norm(condition), 1, rtol=1e-5)


FORMS = ["safetensors", "shards", "half", "module"]


@pytest.mark.parametrize("form", FORMS)
def test_other_forms_of_the_same_weights_give_the_same_model(form, files, tensors, converted, tmp_path):
    kwargs = {"preset": "paper", "tokenizer": str(files / "tokenizer")}
    expected = flatten_dict(folder.load(converted).variables)
    if form == "safetensors":
        source = tmp_path / "audiosep.safetensors"
        save_file(dict(tensors), source)
    elif form == "shards":
        source = tmp_path / "shards"
        source.mkdir()
        names = sorted(tensors)
        shards = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
        for file, part in shards.items():
            save_file({name: tensors[name] for name in part}, source / file)
        places = {name: file for file, part in shards.items() for name in part}
        (source / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    elif form == "half":
        source = tmp_path / "half.ckpt"
        half = {n: v.astype(np.float16) if v.dtype == np.float32 else v for n, v in tensors.items()}
        torch_writer.write(source, torch_writer.lightning_checkpoint(half))
        expected = {path: value.astype(np.float16).astype(np.float32) for path, value in expected.items()}
    else:
        source = tmp_path / "parallel.pt"
        torch_writer.write(source, {"state_dict": {f"module.{n}": v for n, v in tensors.items()}})
    convert(source, tmp_path / "out", **kwargs)
    for path, value in flatten_dict(folder.load(tmp_path / "out").variables).items():
        np.testing.assert_array_equal(value, expected[path])


def bare_separator(path):
    torch_writer.write(path, OrderedDict(released_files.separator_tensors()))
    return path


def test_a_separator_without_a_tower_takes_vectors(tmp_path):
    result = convert(bare_separator(tmp_path / "separator.pt"), tmp_path / "out", preset="dcase")
    loaded = folder.load(tmp_path / "out")
    assert loaded.config.query == QueryConfig(encoder="none")
    assert (loaded.config.model.sample_rate_hz, loaded.config.model.hop_length) == (16_000, 160)
    assert any("holds no tower" in line for line in result)


def laion_file(path):
    tensors = {f"module.{name}": tensor for name, tensor in released_files.clap_tensors().items()}
    torch_writer.write(path, {"epoch": 15, "name": "CLAP", "state_dict": OrderedDict(tensors)})
    return path


def test_a_laion_file_becomes_a_tower_folder(files, tmp_path):
    result = convert(laion_file(tmp_path / "clap.pt"), tmp_path / "clap", tokenizer=str(files / "tokenizer"))
    assert "is LAION's CLAP: " in result[0]
    encoder = load_encoder(QueryConfig(encoder="clap", source=str(tmp_path / "clap")))
    assert encoder.encode(["rain"]).shape == (1, 6)


def test_a_separator_gets_the_tower_that_is_named(files, converted, tmp_path):
    separator = bare_separator(tmp_path / "separator.pt")
    expected = fingerprint(folder.load(converted).config.query)
    for number, tower in enumerate((laion_file(tmp_path / "clap.pt"), converted / "tower", converted)):
        target = tmp_path / str(number)
        convert(separator, target, preset="paper", tokenizer=str(files / "tokenizer"), tower_source=tower)
        assert fingerprint(folder.load(target).config.query) == expected


def test_a_tower_of_another_size_or_a_broken_one_is_refused(files, converted, tmp_path):
    separator = bare_separator(tmp_path / "separator.pt")
    clap_folders.write_transformers(tmp_path / "clap", "a")
    said = "gives conditions of size 20, but the separator needs size 6"
    refused(tmp_path, separator, said, preset="paper", tower_source=tmp_path / "clap")
    shutil.copytree(converted / "tower", tmp_path / "broken")
    tensors = load_file(tmp_path / "broken" / "model.safetensors")
    del tensors["audio_branch.norm.bias"]
    save_file(tensors, tmp_path / "broken" / "model.safetensors")
    said = "does not fit CLAP: missing audio_branch.norm.bias"
    refused(tmp_path, separator, said, preset="paper", tower_source=tmp_path / "broken")


def fingerprint(query):
    """A hash of all inputs of the tower's conditions."""
    return load_encoder(query).fingerprint


@pytest.mark.parametrize("kind", ["clap", "clip", "sentence"])
def test_transformers_folders_become_tower_folders(kind, tmp_path):
    source = tmp_path / "source"
    if kind == "clap":
        clap_folders.write_transformers(source, "a")
    elif kind == "clip":
        write_clip(source)
    else:
        shutil.copytree(DATA / "tiny_bert_relu", source)
        words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "rain", "dog"]
        (source / "vocab.txt").write_text("\n".join(words))
    convert(source, tmp_path / "tower")
    queries = [QueryConfig(encoder=kind, source=str(place)) for place in (source, tmp_path / "tower")]
    assert fingerprint(queries[0]) == fingerprint(queries[1])


def write_clip(folder):
    """The recorded CLIP of transformers, with a tokenizer that fits."""
    shutil.copytree(DATA / "tiny_clip_tokenizer", folder)
    config = json.loads((GOLDEN / "hf_clip_tiny" / "config.json").read_text("utf-8"))
    words = len(json.loads((folder / "vocab.json").read_text("utf-8")))
    config["text_config"] |= {"vocab_size": words, "eos_token_id": words - 1}
    (folder / "config.json").write_text(json.dumps(config))
    tensors = load_file(GOLDEN / "hf_clip_tiny" / "model.safetensors")
    width = config["text_config"]["hidden_size"]
    tensors["text_model.embeddings.token_embedding.weight"] = np.ones((words, width), np.float32)
    save_file(tensors, folder / "model.safetensors")


SEPARATOR_PROBLEMS = {
    "ss_model.base.bn0.bias": (None, "base.bn0.bias is missing"),
    "ss_model.base.pre_conv.bias": (
        np.zeros(9, np.float32),
        "base.pre_conv.bias has shape (9,), needed is (2,)",
    ),
    "ss_model.base.encoder_block3.conv_block1.conv2.weight": (
        np.zeros((4, 4, 3, 2), np.float32),
        "base.encoder_block3.conv_block1.conv2.weight has shape (4, 4, 3, 2), needed is (4, 4, 3, 3)",
    ),
    "ss_model.base.after_conv.bias": (np.zeros(3, np.float64), "base.after_conv.bias is float64"),
    "ss_model.base.attention.weight": (np.zeros(1, np.float32), "base.attention.weight is unknown"),
}
OTHER_PROBLEMS = {
    "query_encoder.model.text_branch.pooler.dense.bias": (None, "missing text_branch.pooler.dense.bias"),
    "query_encoder.model.audio_branch.norm.bias": (
        np.zeros(5, np.float32),
        "mis-shaped audio_branch.norm.bias",
    ),
    "query_encoder.model.extra": (np.zeros(1, np.float32), "unmapped extra"),
    "discriminator.weight": (np.zeros(1, np.float32), "discriminator.weight is unknown"),
}


@pytest.mark.parametrize(
    ("problems", "shown"),
    [
        (SEPARATOR_PROBLEMS, SEPARATOR_PROBLEMS),
        (OTHER_PROBLEMS, OTHER_PROBLEMS),
        (SEPARATOR_PROBLEMS | OTHER_PROBLEMS, SEPARATOR_PROBLEMS),
    ],
    ids=["separator", "others", "all"],
)
def test_problems_are_named_at_once_and_nothing_is_written(files, tensors, tmp_path, problems, shown):
    broken = OrderedDict(tensors)
    for name, (value, _) in problems.items():
        if value is None:
            del broken[name]
        else:
            broken[name] = value
    source = tmp_path / "broken.ckpt"
    torch_writer.write(source, torch_writer.lightning_checkpoint(broken))
    with pytest.raises(AudioSepError, match=r"broken\.ckpt does not fit AudioSep: ") as error:
        convert(source, tmp_path / "out", preset="paper", tokenizer=str(files / "tokenizer"))
    for _, phrase in shown.values():
        assert phrase in str(error.value)
    hidden = len(problems) - len(shown)
    assert str(error.value).endswith(f" and {hidden} more.") == bool(hidden)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.ckpt"]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_rounded_tower_is_the_same_tower(dtype, files, tensors, tmp_path):
    """Its constants are rounded, too; the check of constants must accept them."""
    source = tmp_path / "half.ckpt"
    half = {n: v.astype(dtype) if v.dtype == np.float32 else v for n, v in tensors.items()}
    torch_writer.write(source, torch_writer.lightning_checkpoint(half))
    convert(source, tmp_path / "out", preset="paper", tokenizer=str(files / "tokenizer"))
    encoder = load_encoder(folder.load(tmp_path / "out").config.query)
    assert isinstance(encoder, ClapEncoder)
    assert len(encoder.fingerprint) == 64
    tower = safetensors_file.TensorFile(tmp_path / "out" / "tower" / "model.safetensors")
    params.audio_parameters(encoder.config, tower)


def test_constants_of_another_tower_are_named_with_the_other_problems(files, tmp_path):
    clap = released_files.clap_tensors()
    kernel, mask = (
        next(name for name in clap if name.endswith(end)) for end in ("conv_real.weight", "attn_mask")
    )
    clap[kernel] = (clap[kernel] * 1.001).astype(np.float16)  # more than rounding
    clap[mask] = np.where(clap[mask] < 0, np.float32(0), np.float32(-100))
    del clap["text_branch.pooler.dense.weight"]
    torch_writer.write(tmp_path / "clap.pt", OrderedDict(clap))
    with pytest.raises(AudioSepError, match=r"clap\.pt does not fit CLAP: ") as error:
        convert(tmp_path / "clap.pt", tmp_path / "out", tokenizer=str(files / "tokenizer"))
    for part in (
        "missing text_branch.pooler.dense.weight",
        f"{kernel} differs from the constant that the audio tower needs",
        f"{mask} differs from the constant",
    ):
        assert part in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_nan_and_infinity_are_named_with_the_other_problems(dtype, files, tensors, tmp_path):
    broken = OrderedDict(tensors)
    values = {
        "ss_model.base.encoder_block1.conv_block1.conv1.weight": np.nan,
        "ss_model.film.decoder_block2->beta2.bias": np.inf,
        "query_encoder.model.text_branch.embeddings.word_embeddings.weight": -np.inf,
    }
    for name, value in values.items():
        broken[name] = broken[name].astype(dtype)
        broken[name].flat[-1] = value
    del broken["ss_model.base.bn0.bias"]
    source = tmp_path / "broken.ckpt"
    torch_writer.write(source, torch_writer.lightning_checkpoint(broken))
    with pytest.raises(AudioSepError, match=r"base\.bn0\.bias is missing") as error:
        convert(source, tmp_path / "out", preset="paper", tokenizer=str(files / "tokenizer"))
    for name in values:
        bare = name.removeprefix("ss_model.").removeprefix("query_encoder.model.")
        assert f"{bare} holds NaN or infinity" in str(error.value)
    assert str(error.value).count("NaN") == len(values)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.ckpt"]


def test_nan_in_the_middle_of_a_large_or_transposed_tensor_is_found():
    large = np.zeros((3, 1 << 20), np.float16)
    assert finite.problems({"large": large, "empty": large[:0], "count": np.array(3)}) == []
    large[1, 5] = np.nan
    expected = [f"{name} holds NaN or infinity" for name in ("large", "transposed")]
    assert finite.problems({"large": large, "transposed": large.T}) == expected


def test_a_transformers_tower_with_nan_is_refused(tmp_path):
    write_clip(tmp_path / "clip")
    tensors = load_file(tmp_path / "clip" / "model.safetensors")
    name = next(iter(sorted(name for name, value in tensors.items() if value.dtype == np.float32)))
    tensors[name].flat[0] = np.nan
    save_file(tensors, tmp_path / "clip" / "model.safetensors")
    refused(tmp_path, tmp_path / "clip", f"clip does not fit a query tower: {name} holds NaN")


@pytest.mark.parametrize("kind", ["clip", "sentence"])
def test_only_a_clap_takes_the_tokenizer_of_roberta(kind, tmp_path):
    source = tmp_path / "source"
    if kind == "clip":
        write_clip(source)
        for name in ("vocab.json", "merges.txt", "tokenizer.json"):
            (source / name).unlink(missing_ok=True)
    else:
        shutil.copytree(DATA / "tiny_bert_relu", source)
    with pytest.raises(AudioSepError, match=r"source holds no tokenizer .* with --tokenizer") as error:
        convert(source, tmp_path / "out")
    assert "roberta" not in str(error.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


def refused(tmp_path, source, said, **kwargs):
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(AudioSepError) as error:
        convert(source, tmp_path / "out", **kwargs)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_the_wrong_kind_is_named(files, converted, tmp_path):
    refused(tmp_path, laion_file(tmp_path / "c.pt"), "c.pt is LAION's CLAP, not AudioSep", kind="audiosep")
    refused(tmp_path, converted / "tower", "tower is LAION's CLAP, not AudioSep", kind="audiosep")
    refused(
        tmp_path,
        files / "audiosep.ckpt",
        "is AudioSep, not a tower: convert it with --kind audiosep",
        kind="tower",
    )
    refused(tmp_path, converted, "is already a checkpoint folder")
    refused(tmp_path, tmp_path / "nowhere.ckpt", "does not exist")
    refused(
        tmp_path,
        files / "audiosep.ckpt",
        "has its own tower: remove --tower",
        preset="paper",
        tower_source=tmp_path / "c.pt",
    )
    refused(
        tmp_path,
        tmp_path / "c.pt",
        "is a tower: --tower is for a separator without one",
        tower_source=tmp_path / "c.pt",
    )
    refused(
        tmp_path,
        bare_separator(tmp_path / "s.pt"),
        "is an AudioSep: give a CLAP",
        preset="paper",
        tower_source=files / "audiosep.ckpt",
    )


def test_an_ambiguous_window_asks_for_a_preset(files, tmp_path):
    source = files / "audiosep.ckpt"
    refused(tmp_path, source, "name the model with --preset, one of paper (32000 Hz, hop 320), dcase (16000")
    refused(tmp_path, source, "--preset base one of 2048: choose paper or dcase", preset="base")


def test_a_missing_tokenizer_is_named_before_anything_is_written(files, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    source = files / "audiosep.ckpt"
    refused(tmp_path, source, "holds no tokenizer", preset="paper", tokenizer=str(tmp_path))
    refused(
        tmp_path,
        source,
        "The tokenizer 'nobody/nothing' is not a folder, not in the Hugging Face cache, and could not be",
        preset="paper",
        tokenizer="nobody/nothing",
    )


def test_a_tokenizer_of_another_tower_is_refused(files, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    clap_folders.write_tokenizer(other, dataclasses.replace(CLAP.text, pad_token_id=1))
    values = (other / "tokenizer.json").read_text("utf-8")
    vocabulary = ", ".join(f'"w{i}": {i + 200}' for i in range(400))
    (other / "tokenizer.json").write_text(
        values.replace('"vocab":{', '"vocab":{' + vocabulary + ", ").replace(
            '"vocab": {', '"vocab": {' + vocabulary + ", "
        )
    )
    refused(
        tmp_path, files / "audiosep.ckpt", "but the text tower has 300", preset="paper", tokenizer=str(other)
    )


def test_an_existing_folder_is_not_lost(files, tmp_path):
    kwargs = {"preset": "paper", "tokenizer": str(files / "tokenizer")}
    target = tmp_path / "out"
    target.mkdir()
    (target / "thesis.txt").write_text("years of work")
    refused(tmp_path, files / "audiosep.ckpt", "is not empty: choose another folder", **kwargs)
    refused(tmp_path, files / "audiosep.ckpt", "is not a checkpoint folder", overwrite=True, **kwargs)
    (target / "thesis.txt").unlink()
    convert(files / "audiosep.ckpt", target, **kwargs)
    refused(tmp_path, files / "audiosep.ckpt", "add --overwrite", **kwargs)
    (target / "vocab.txt").write_text("")
    convert(files / "audiosep.ckpt", target, overwrite=True, **kwargs)
    assert not (target / "vocab.txt").exists()
    assert folder.load(target).config.model == SMALL
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


CONVERT = """
import sys, resource, signal
{before}
from audiosep_jax.checkpoints.from_pytorch import convert
from audiosep_jax.errors import AudioSepError
try:
    convert({source!r}, {target!r}, preset="paper", tokenizer={tokenizer!r})
except AudioSepError as error:
    print(error)
"""


def run(files, target, before):
    code = CONVERT.format(
        before=before,
        source=str(files / "audiosep.ckpt"),
        target=str(target),
        tokenizer=str(files / "tokenizer"),
    )
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", code], text=True, **pipes)


def test_a_full_disk_leaves_nothing(files, tmp_path):
    """A limit on the size of files stops the write in its middle, as a full disk does."""
    limit = (
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)"
    )
    process = run(files, tmp_path / "out", limit)
    said, errors = process.communicate()
    assert "cannot be written: " in said, errors
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_leaves_nothing(files, tmp_path):
    # A shell that runs the tests in the background would have SIGINT ignored.
    slow = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import time; from audiosep_jax.utils import safetensors_file as stream; raw = stream.raw\n"
        "stream.raw = lambda tensor: (print('writing', flush=True), time.sleep(0.2), raw(tensor))[2]"
    )
    process = run(files, tmp_path / "out", slow)
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    assert [path.name.startswith(".out-") for path in tmp_path.iterdir()] == [True]
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGINT)
    assert "KeyboardInterrupt" in process.communicate()[1]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_released_shape_converts_quickly_in_little_memory_and_gives_the_golden_waveform(tmp_path):
    tensors = released_files.released_tensors()
    source = released_files.write_lightning(tmp_path / "audiosep_base_4M_steps.ckpt", tensors)
    size = source.stat().st_size
    assert size > 1.2e9
    del tensors
    clap_folders.write_tokenizer(tmp_path, CLAP.text)
    code = (
        "import re, time; start = time.perf_counter()\n"
        "from audiosep_jax.checkpoints.from_pytorch import convert\n"
        f"convert({str(source)!r}, {str(tmp_path / 'out')!r}, tokenizer={str(tmp_path)!r})\n"
        # Not getrusage: its peak is that of the process that started this one, if that was larger.
        "peak = re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]\n"
        "print(time.perf_counter() - start, int(peak) * 1024)"
    )
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    seconds, peak = map(float, done.stdout.split())
    print(f"{size / 1e9:.2f} GB in {seconds:.1f} s, peak memory {peak / size:.2f} times the file")
    assert seconds < 60
    assert peak < 2.5 * size

    model = audiosep_jax.load(tmp_path / "out")
    estimate = jax.device_get(model.apply(golden.mixtures(), golden.conditions()))
    expected = golden.record()["base/waveform_out"]
    np.testing.assert_allclose(estimate, expected, rtol=0, atol=1e-4)
