import dataclasses
import json

import clap_folders
import jax
import numpy as np
import pytest
from clap_folders import write_laion, write_transformers
from golden_inputs import SEED, reference_tensor, waveform
from safetensors.numpy import load_file, save_file

from audiosep_jax.audio.resample import resample
from audiosep_jax.config import QueryConfig
from audiosep_jax.encoders import model_files
from audiosep_jax.encoders.base import AudioQueryEncoder, ImageQueryEncoder, QueryEncoder, load_encoder
from audiosep_jax.encoders.cache import ConditionCache
from audiosep_jax.encoders.clap import config as clap_config
from audiosep_jax.encoders.clap import constants, laion_config, log_mel
from audiosep_jax.encoders.clap import encoder as clap
from audiosep_jax.errors import AudioSepError

CAPTIONS = ["a dog barks", "rain on a roof", "a siren wails", "clip 5"]


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    """The three recorded models, as transformers stores them."""
    root = tmp_path_factory.mktemp("transformers")
    return {name: clap.load(str(write_transformers(root / name, name))) for name in clap_folders.NAMES}


@pytest.fixture(scope="module")
def encoder(encoders):
    return encoders["c"]


@pytest.fixture
def folder(tmp_path):
    return write_laion(tmp_path / "tower", "c")


@pytest.mark.parametrize("name", ["b", "c"])
def test_embeddings_of_sounds_equal_those_of_transformers(encoders, name):
    """Shorter than the clip, as long, and a single sample, through the feature extractor's settings."""
    encoder, expected = encoders[name], clap_folders.record(name)
    sounds, rate_hz = clap_folders.sounds(name)
    heard = encoder.encode_audio(sounds, sample_rate_hz=rate_hz)
    assert heard.dtype == np.float32
    # Similar sounds of a random tower are near each other: what tells them apart counts.
    scale = np.std(expected["heard"] - expected["heard"].mean(axis=0))
    assert np.max(np.abs(heard - expected["heard"])) < 1e-5 + 1e-3 * scale


@pytest.mark.parametrize("name", clap_folders.NAMES)
def test_both_layouts_give_the_same_parameters(encoders, tmp_path, name):
    theirs, laions = encoders[name], clap.load(str(write_laion(tmp_path, name)))
    assert laions.config == dataclasses.replace(theirs.config, layout="laion")
    jax.tree.map(np.testing.assert_array_equal, laions._text_params, theirs._text_params)
    jax.tree.map(np.testing.assert_array_equal, laions._audio_params, theirs._audio_params)


def test_a_folder_that_transformers_wrote(tmp_path):
    source = clap_folders.GOLDEN / "hf_clap_tiny"
    for file in ("config.json", "model.safetensors"):
        (tmp_path / file).symlink_to(source / file)
    clap_folders.write_tokenizer(tmp_path, clap_config.load(source).text)
    encoder, expected = clap.load(str(tmp_path)), np.load(source / "expected.npz")
    ids, mask = expected["input_ids"].astype(np.int32), expected["attention_mask"].astype(bool)
    embedded = clap._embed_text(encoder.config, encoder._text_params, ids, mask)
    np.testing.assert_allclose(embedded, expected["text_embeds"], rtol=0, atol=2e-6)
    # It has no feature extractor, and ten seconds are more than this audio tower takes.
    with pytest.raises(AudioSepError, match="1001 frames of 16 mel bins: this audio tower takes"):
        encoder.encode_audio([waveform(9, SEED)], sample_rate_hz=48_000)


@pytest.mark.slow
def test_golden_embeddings_of_laion(tmp_path):
    """RoBERTa-base and HTSAT-base at full size, from a tower folder and from waveforms."""
    shapes = json.loads((clap_folders.GOLDEN / "laion_clap.keys.json").read_text("utf-8"))
    config = laion_config.from_shapes({name: tuple(shape) for name, shape in shapes.items()})
    tensors = {name: reference_tensor(name, tuple(shape)) for name, shape in shapes.items() if shape}
    for name, value in constants.constants(config):
        assert value.shape == tensors[name].shape
        tensors[name] = np.ascontiguousarray(value, np.int64 if value.dtype.kind == "i" else np.float32)
    tensors["audio_branch.logmel_extractor.melW"] = log_mel.mel_matrix(config.log_mel)
    save_file(tensors, tmp_path / "model.safetensors")
    del tensors
    (tmp_path / "config.json").write_text(json.dumps(clap_config.to_json(config)))
    clap_folders.write_tokenizer(tmp_path, config.text)
    encoder, record = clap.load(str(tmp_path)), np.load(clap_folders.GOLDEN / "laion_clap.npz")
    ids, mask = record["input_ids"].astype(np.int32), record["attention_mask"].astype(bool)
    text = clap._embed_text(config, encoder._text_params, ids, mask)
    np.testing.assert_allclose(text, record["text_embedding"], rtol=0, atol=1e-5)
    sounds = [waveform(480_000, SEED + 70), waveform(500_000, SEED + 71)]
    heard = encoder.encode_audio([sounds[0], waveform(480_000, SEED + 71)], sample_rate_hz=48_000)
    np.testing.assert_allclose(heard, record["audio_embedding"], rtol=0, atol=1e-5)


def test_a_text_means_the_same_alone_and_in_any_batch(encoder):
    assert isinstance(encoder, QueryEncoder)
    assert isinstance(encoder, AudioQueryEncoder)
    assert not isinstance(encoder, ImageQueryEncoder)
    together = encoder.encode(CAPTIONS)
    assert together.shape == (len(CAPTIONS), encoder.condition_size)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)
    order = np.random.default_rng(0).permutation(len(CAPTIONS))
    np.testing.assert_allclose(
        encoder.encode([CAPTIONS[i] for i in order]), together[order], rtol=0, atol=1e-6
    )
    alone = np.concatenate([encoder.encode([caption]) for caption in CAPTIONS[:3]])
    np.testing.assert_allclose(alone, together[:3], rtol=0, atol=1e-6)
    assert np.max(together @ together.T - 2 * np.eye(len(CAPTIONS))) < 0.9999
    assert encoder.encode([]).shape == (0, encoder.condition_size)


def test_further_texts_and_sounds_of_a_known_shape_compile_nothing(encoder):
    sound = waveform(3000, SEED)
    encoder.encode(["a dog"])
    encoder.encode_audio([sound], sample_rate_hz=24_000)
    encoder.encode_audio([sound] * 4, sample_rate_hz=24_000)
    compiled = clap._embed_text._cache_size(), clap._embed_audio._cache_size()
    for length, caption in enumerate(CAPTIONS[:3], start=1):
        encoder.encode([caption])
        encoder.encode_audio([sound[: 500 * length]] * length, sample_rate_hz=24_000 + length)
    assert (clap._embed_text._cache_size(), clap._embed_audio._cache_size()) == compiled


def test_a_long_text_is_cut_with_a_warning_and_keeps_its_end(encoder, monkeypatch):
    seen = []
    monkeypatch.setattr(
        clap, "_embed_text", lambda config, params, ids, mask: seen.append((ids, mask)) or ids
    )
    monkeypatch.setattr(encoder, "condition_size", 22)
    # The tower has 24 positions, of which padding takes two.
    with pytest.warns(UserWarning, match=r"1 text\(s\) exceed 22 tokens .*'abcdefghijklmnopqrstuvwxyz'"):
        encoder.encode(["abcdefghijklmnopqrstuvwxyz"])
    ((ids, mask),) = seen
    words = [encoder._tokenizer.id_to_token(token) for token in np.asarray(ids)[0].tolist()]
    assert words == ["<s>", *"abcdefghijklmnopqrst", "</s>"]
    assert mask.all()


@pytest.mark.parametrize("text", ["", "   ", "\t\n\u3000", "\u200b\u200b", "\x00"])
def test_an_empty_query_is_refused(encoder, text):
    with pytest.raises(AudioSepError, match="is empty: describe"):
        encoder.encode(["dog", text])


def test_unusable_texts_are_refused(encoder):
    with pytest.raises(AudioSepError, match="not valid Unicode"):
        encoder.encode(["dog\udcff"])
    with pytest.raises(AudioSepError, match="list of texts"):
        encoder.encode("dog")


def test_a_short_sound_is_repeated_whole_and_a_long_one_cut():
    sound = np.arange(1, 4, dtype=np.float32)
    assert clap.repeat_pad(sound, samples=11).tolist() == [1, 2, 3, 1, 2, 3, 1, 2, 3, 0, 0]
    assert clap.repeat_pad(sound, samples=6).tolist() == [1, 2, 3, 1, 2, 3]
    assert clap.repeat_pad(sound, samples=5).tolist() == [1, 2, 3, 0, 0]
    assert clap.repeat_pad(sound, samples=3).tolist() == [1, 2, 3]
    assert clap.repeat_pad(sound, samples=2).tolist() == [1, 2]


def test_any_rate_and_any_number_of_sounds(encoder):
    """The tower of the test takes two seconds at 24 kHz."""
    long = waveform(300_000, SEED)
    sounds = [long[:48_000], long[:9_000], long[1000:49_000], long[:100_000]]
    together = encoder.encode_audio(sounds, sample_rate_hz=24_000)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)
    alone = encoder.encode_audio(sounds[1:2], sample_rate_hz=24_000)
    np.testing.assert_allclose(alone, together[1:2], rtol=0, atol=1e-6)
    np.testing.assert_allclose(together[3], together[0], rtol=0, atol=1e-6)
    assert np.max(np.abs(together[1:3] - together[:1])) > 1e-3
    # Only the beginning is resampled, which is all that the first two seconds depend on.
    part = encoder.encode_audio([long], sample_rate_hz=44_100)
    whole = resample(long, from_hz=44_100, to_hz=24_000)[:48_000]
    np.testing.assert_allclose(part, encoder.encode_audio([whole], sample_rate_hz=24_000), rtol=0, atol=1e-6)
    doubles = encoder.encode_audio([sounds[1].astype(np.float64)], sample_rate_hz=24_000)
    np.testing.assert_array_equal(doubles, alone)
    assert encoder.encode_audio([], sample_rate_hz=24_000).shape == (0, encoder.condition_size)


@pytest.mark.parametrize(
    ("sound", "part"),
    [
        (np.zeros(0, np.float32), "query sound 2 is empty"),
        (np.zeros((2, 100), np.float32), "query sound 2 has the type float32 and the shape (2, 100)"),
        (np.zeros(100, np.int16), "the type int16"),
        (np.array([0.0, np.nan], np.float32), "query sound 2 holds numbers that are not finite"),
        (np.array([0.0, np.inf], np.float32), "not finite"),
    ],
)
def test_an_unusable_sound_is_refused(encoder, sound, part):
    with pytest.raises(AudioSepError) as caught:
        encoder.encode_audio([waveform(100, SEED), sound], sample_rate_hz=24_000)
    assert part in str(caught.value)


@pytest.mark.parametrize("rate_hz", [0, -5])
def test_an_unusable_rate_is_refused(encoder, rate_hz):
    with pytest.raises(AudioSepError, match="must be a positive whole number"):
        encoder.encode_audio([waveform(100, SEED)], sample_rate_hz=rate_hz)


def test_texts_do_not_load_the_audio_tower(tmp_path, monkeypatch):
    read = []
    get = model_files.TensorFile.__getitem__

    def spy(self, name):
        read.append(name)
        return get(self, name)

    monkeypatch.setattr(model_files.TensorFile, "__getitem__", spy)
    encoder = clap.load(str(write_transformers(tmp_path, "c")))
    encoder.encode(["a dog"])
    # The type checks of the tests look at the first tensor of a mapping.
    first = next(iter(model_files.TensorFile(tmp_path / "model.safetensors")))
    assert {name.partition(".")[0] for name in read if name != first} == {"text_model", "text_projection"}
    read.clear()
    encoder.encode_audio([waveform(100, SEED)], sample_rate_hz=24_000)
    assert {name.partition(".")[0] for name in read if name != first} == {"audio_model", "audio_projection"}
    read.clear()
    encoder.encode_audio([waveform(200, SEED)], sample_rate_hz=24_000)
    assert read == []


def change(folder, name, edit):
    tensors = load_file(folder / "model.safetensors")
    tensors[name] = np.asarray(edit(tensors[name]))
    save_file(tensors, folder / "model.safetensors")


def test_the_mel_matrix_of_the_file_is_used(folder):
    matrix = load_file(folder / "model.safetensors")["audio_branch.logmel_extractor.melW"]
    change(folder, "audio_branch.logmel_extractor.melW", lambda matrix: np.roll(matrix, 3, axis=0))
    used = clap.load(str(folder))._audio_params["mel_matrix"]
    np.testing.assert_array_equal(used, np.roll(matrix, 3, axis=0))
    assert not np.array_equal(used, matrix)


@pytest.mark.parametrize(
    ("name", "edit"),
    [
        ("audio_branch.layers.0.blocks.1.attn_mask", lambda mask: mask * 0),
        ("audio_branch.layers.0.blocks.0.attn.relative_position_index", lambda index: index[::-1].copy()),
        ("audio_branch.spectrogram_extractor.stft.conv_imag.weight", lambda kernel: -kernel),
        ("audio_branch.spectrogram_extractor.stft.conv_real.weight", lambda kernel: kernel[:, :, 1:].copy()),
    ],
)
def test_other_constants_than_the_towers_are_refused(folder, name, edit):
    # Rounding is no difference; texts do not depend on any.
    change(folder, name, lambda value: value + (value != 0) * value.dtype.type(1e-6))
    assert clap.load(str(folder))._audio_params
    change(folder, name, edit)
    encoder = clap.load(str(folder))
    with pytest.raises(AudioSepError, match="the constants of another audio tower") as caught:
        encoder.encode_audio([waveform(100, SEED)], sample_rate_hz=24_000)
    assert name in str(caught.value)


def test_constants_are_those_of_torchlibrosa_and_of_the_reference():
    real, imag = constants.stft_kernels(64)
    frame = waveform(64, SEED)
    expected = np.fft.rfft(frame * (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(64) / 64)))
    np.testing.assert_allclose((real[:, 0] + 1j * imag[:, 0]) @ frame, expected, atol=1e-12)


def test_fingerprint_follows_weights_tokenizer_and_config(folder):
    first = clap.load(str(folder)).fingerprint
    assert clap.load(str(folder)).fingerprint == first
    fingerprints = {first}
    edits = [
        lambda: change(folder, "text_projection.2.bias", lambda bias: bias + np.float32(1e-6)),
        lambda: change(folder, "audio_projection.2.bias", lambda bias: bias + np.float32(1e-6)),
        lambda: change(folder, "audio_branch.norm.bias", lambda bias: bias + np.float32(1e-6)),
        lambda: (folder / "tokenizer.json").write_text((folder / "tokenizer.json").read_text() + " "),
        lambda: (folder / "config.json").write_text(
            (folder / "config.json")
            .read_text()
            .replace('"projection_act": "silu"', '"projection_act": "gelu"')
        ),
    ]
    for edit in edits:
        edit()
        fingerprints.add(clap.load(str(folder)).fingerprint)
    assert len(fingerprints) == 1 + len(edits)
    # What no condition depends on does not count.
    last = clap.load(str(folder)).fingerprint
    change(folder, "logit_scale_a", lambda scale: scale + 1)
    assert clap.load(str(folder)).fingerprint == last


def test_conditions_come_from_the_file_the_second_time(tmp_path, monkeypatch):
    folder = write_transformers(tmp_path / "tower", "c")
    encoder = load_encoder(QueryConfig(encoder="clap", source=str(folder)))
    first = ConditionCache(encoder, folder=tmp_path / "cache").conditions(CAPTIONS)
    calls = []
    monkeypatch.setattr(clap.ClapEncoder, "encode", lambda _, texts: calls.append(texts))
    again = ConditionCache(clap.load(str(folder)), folder=tmp_path / "cache").conditions(CAPTIONS)
    np.testing.assert_array_equal(again, first)
    assert calls == []


def lose_tensor(folder):
    tensors = load_file(folder / "model.safetensors")
    del tensors["audio_branch.norm.bias"]
    save_file(tensors, folder / "model.safetensors")
    return "missing audio_branch.norm.bias"


def widen_tokenizer(folder):
    values = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = values["model"]["vocab"]
    vocabulary |= {f"word{i}": len(vocabulary) + i for i in range(60)}
    (folder / "tokenizer.json").write_text(json.dumps(values))
    return "tokens and a model of 64"


def lose_tokenizer(folder):
    (folder / "tokenizer.json").unlink()
    return "neither tokenizer.json"


def truncate(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    return "model.safetensors is damaged or not a safetensors file"


def lose_weights(folder):
    (folder / "model.safetensors").unlink()
    return "has no model.safetensors"


def store_integers(folder):
    change(folder, "text_projection.0.weight", lambda value: value.astype(np.int32))
    return "mis-shaped text_projection.0.weight (int32"


@pytest.mark.parametrize(
    "fault", [lose_tensor, widen_tokenizer, lose_tokenizer, truncate, lose_weights, store_integers]
)
def test_an_unfit_folder_is_refused_with_its_name(folder, fault):
    part = fault(folder)
    with pytest.raises(AudioSepError, match=str(folder)) as caught:
        clap.load(str(folder))
    assert part in str(caught.value)


def test_an_unknown_source_is_refused():
    with pytest.raises(AudioSepError, match="neither a folder nor a Hugging Face id"):
        clap.load("no/such/folder")
