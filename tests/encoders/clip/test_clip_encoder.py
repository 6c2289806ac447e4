import json
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from golden_inputs import reference_tensor
from safetensors.numpy import load_file, save_file

from audiosep_jax.config import QueryConfig
from audiosep_jax.encoders import batching, images
from audiosep_jax.encoders.base import (
    AudioQueryEncoder,
    ImageQueryEncoder,
    QueryEncoder,
    load_encoder,
    mean_condition,
)
from audiosep_jax.encoders.clip import config as clip_config
from audiosep_jax.encoders.clip import encoder as clip
from audiosep_jax.encoders.clip import params as clip_weights
from audiosep_jax.encoders.clip import towers
from audiosep_jax.encoders.tokenizer import load_tokenizer
from audiosep_jax.errors import AudioSepError

DATA = Path(__file__).parents[2] / "data"
VOCABULARY = len(json.loads((DATA / "tiny_clip_tokenizer" / "vocab.json").read_text("utf-8")))
CAPTIONS = [
    "dog",
    "a dog barking",
    "rain on a roof",
    "a siren wails",
    *(f"clip {i}" for i in range(8)),
]


def make(folder):
    """A folder as transformers saves it: the record "gelu" with a vocabulary of a real tokenizer."""
    record = json.loads((DATA / "clip_towers.json").read_text("utf-8"))["gelu"]
    config = record["config"]
    config["text_config"] |= {
        "vocab_size": VOCABULARY,
        "eos_token_id": VOCABULARY - 1,
        "max_position_embeddings": 40,
    }
    shapes = record["shapes"] | {
        "text_model.embeddings.token_embedding.weight": (VOCABULARY, 16),
        "text_model.embeddings.position_embedding.weight": (40, 16),
    }
    shutil.copytree(DATA / "tiny_clip_tokenizer", folder)
    (folder / "config.json").write_text(json.dumps(config))
    tensors = {key: np.asarray(reference_tensor(key, tuple(shape))) for key, shape in shapes.items()}
    save_file(tensors, folder / "model.safetensors")
    return folder


@pytest.fixture
def folder(tmp_path):
    return make(tmp_path / "tiny")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return clip.load(str(make(tmp_path_factory.mktemp("clip") / "tiny")))


def pictures(number, seed=0):
    rng = np.random.default_rng(seed)
    return [
        rng.integers(0, 256, (int(rng.integers(5, 60)), int(rng.integers(5, 60)), 3), dtype=np.uint8)
        for _ in range(number)
    ]


def change_json(path, change):
    values = json.loads(path.read_text()) if path.exists() else {}
    change(values)
    path.write_text(json.dumps(values))


def test_the_registry_finds_it(folder):
    tower = load_encoder(QueryConfig(encoder="clip", source=str(folder)))
    assert isinstance(tower, clip.ClipEncoder)
    assert isinstance(tower, QueryEncoder)
    assert isinstance(tower, ImageQueryEncoder)
    assert not isinstance(tower, AudioQueryEncoder)
    assert tower.condition_size == 12


def test_conditions_are_the_towers_embeddings_with_unit_length(folder, encoder):
    config = clip_config.load_config(folder / "config.json")
    params = clip_weights.parameters(config, load_file(folder / "model.safetensors"))
    tokenizer, _ = load_tokenizer(folder)
    plain = {"xla_backend_optimization_level": 0}
    text_embeddings = jax.jit(towers.text_embeddings, static_argnums=0, compiler_options=plain)
    for text in CAPTIONS[:2]:
        # As transformers pads: with end-of-text tokens up to the longest possible text.
        ids = tokenizer.encode(text).ids
        ids = np.array([ids + ids[-1:] * (40 - len(ids))], np.int32)
        embedding = np.asarray(text_embeddings(config, params, ids))[0]
        condition = encoder.encode([text])[0]
        np.testing.assert_allclose(condition, embedding / np.linalg.norm(embedding), rtol=0, atol=1e-6)
    (picture,) = pictures(1)
    pixels = images.preprocess(picture, images.load_preprocessing(folder, image_size=30))
    image_embeddings = jax.jit(towers.image_embeddings, static_argnums=0, compiler_options=plain)
    embedding = np.asarray(image_embeddings(config, params, pixels[None]))[0]
    condition = encoder.encode_images([picture])[0]
    np.testing.assert_allclose(condition, embedding / np.linalg.norm(embedding), rtol=0, atol=1e-6)


def test_a_text_means_the_same_alone_and_in_any_batch(encoder, monkeypatch):
    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        together = encoder.encode(CAPTIONS)
    assert together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)
    order = np.random.default_rng(0).permutation(len(CAPTIONS))
    np.testing.assert_allclose(encoder.encode([CAPTIONS[i] for i in order]), together[order], atol=1e-6)
    monkeypatch.setattr(batching, "SHORTEST", 32)
    alone = np.concatenate([encoder.encode([caption]) for caption in CAPTIONS[:4]])
    np.testing.assert_allclose(alone, together[:4], rtol=0, atol=1e-6)
    # Different captions are further apart than any tolerance above.
    assert np.max(together @ together.T - 2 * np.eye(len(CAPTIONS))) < 0.9999


def test_capitals_and_spaces_do_not_matter(encoder):
    plain, other = (encoder.encode([text]) for text in ("a dog barking", "  A  DOG\tbarking\n"))
    np.testing.assert_array_equal(plain, other)


def test_a_picture_means_the_same_alone_and_in_any_batch(encoder):
    many = pictures(22)
    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        together = encoder.encode_images(many)
    assert together.shape == (22, 12)
    assert together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)
    alone = np.concatenate([encoder.encode_images([many[i]]) for i in (0, 15, 16, 21)])
    np.testing.assert_allclose(alone, together[[0, 15, 16, 21]], rtol=0, atol=1e-6)
    assert np.max(together @ together.T - 2 * np.eye(22)) < 0.99999
    frames = mean_condition(together)
    assert np.linalg.norm(frames) == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(frames, together.mean(0) / np.linalg.norm(together.mean(0)), atol=1e-6)


def test_missing_queries_and_queries_that_cancel_out_are_refused():
    row = np.eye(3, dtype=np.float32)[:1]
    np.testing.assert_array_equal(mean_condition(row), row[0])
    with pytest.raises(AudioSepError, match="cancel each other out"):
        mean_condition(np.concatenate([row, -row]))
    with pytest.raises(AudioSepError, match="at least one"):
        mean_condition(row[:0])


def test_further_queries_of_known_shapes_compile_nothing(encoder):
    encoder.encode(["a dog"])
    encoder.encode_images(pictures(1))
    encoder.encode_images(pictures(3))
    compiled = clip._embed_text._cache_size(), clip._embed_images._cache_size()
    for caption in CAPTIONS[:6]:
        encoder.encode([caption])
    for number in (1, 2, 4):
        encoder.encode_images(pictures(number, seed=number))
    assert (clip._embed_text._cache_size(), clip._embed_images._cache_size()) == compiled


def test_a_long_text_is_cut_with_a_warning(encoder):
    long = "a dog barking in the rain " * 9
    with pytest.warns(UserWarning, match=r"1 text\(s\) exceed 40 tokens .*'a dog barking in"):
        cut = encoder.encode(["rain", long])[1]
    with pytest.warns(UserWarning, match="exceed 40"):
        longer = encoder.encode([long + " and a siren"])[0]
    # The end-of-text token is still read: without it, all cut texts would be pooled at their first token.
    np.testing.assert_allclose(longer, cut, rtol=0, atol=1e-6)
    with pytest.warns(UserWarning, match="exceed 40"):
        assert encoder.encode(["the wind " * 30])[0] @ cut < 0.9999


@pytest.mark.parametrize("text", ["", "  ", "\n\t", "\u200b"])
def test_an_empty_query_is_refused(encoder, text):
    with pytest.raises(AudioSepError, match="is empty: describe"):
        encoder.encode(["dog", text])


@pytest.mark.parametrize(
    ("image", "part"),
    [
        (np.zeros((4, 4, 3)), "Image 1 is float64"),
        (np.zeros((4, 4, 4), np.uint8), r"Image 1 has the shape \(4, 4, 4\)"),
        (np.zeros((4, 4), np.uint8), r"Image 1 has the shape \(4, 4\)"),
        (np.zeros((0, 4, 3), np.uint8), r"Image 1 has the shape \(0, 4, 3\)"),
    ],
)
def test_an_array_that_is_no_image_is_refused(encoder, image, part):
    with pytest.raises(AudioSepError, match=part):
        encoder.encode_images([np.zeros((4, 4, 3), np.uint8), image])


def test_no_queries_give_no_conditions(encoder):
    assert encoder.encode([]).shape == (0, 12)
    assert encoder.encode_images([]).shape == (0, 12)


def nudge_a_weight(folder):
    tensors = load_file(folder / "model.safetensors")
    tensors["vision_model.encoder.layers.0.self_attn.k_proj.bias"][3] += 1e-6
    save_file(tensors, folder / "model.safetensors")


def rename_a_token(folder):
    text = (folder / "vocab.json").read_text("utf-8")
    (folder / "vocab.json").write_text(text.replace('"ĉ</w>"', '"ĉĉ</w>"'), "utf-8")


def change_activation(folder):
    change_json(folder / "config.json", lambda v: v["text_config"].update(hidden_act="quick_gelu"))


def change_mean(folder):
    change_json(folder / "preprocessor_config.json", lambda v: v.update(image_mean=[0.5, 0.5, 0.5]))


def test_fingerprint_follows_weights_tokenizer_config_and_preprocessing(folder):
    first = clip.ClipEncoder.from_folder(folder).fingerprint
    assert clip.ClipEncoder.from_folder(str(folder)).fingerprint == first
    fingerprints = [first]
    for change in (nudge_a_weight, rename_a_token, change_activation, change_mean):
        change(folder)
        fingerprints.append(clip.ClipEncoder.from_folder(folder).fingerprint)
    assert len(set(fingerprints)) == 5


def lose_weights(folder):
    (folder / "model.safetensors").unlink()
    return "has no model.safetensors"


def truncate_weights(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    return "is damaged or not a safetensors file"


def lose_a_tensor(folder):
    tensors = load_file(folder / "model.safetensors")
    del tensors["text_projection.weight"]
    save_file(tensors, folder / "model.safetensors")
    return "missing text_projection.weight"


def lose_tokenizer(folder):
    (folder / "merges.txt").unlink()
    return "neither tokenizer.json nor vocab.json with merges.txt"


def shrink_vocabulary(folder):
    change_json(folder / "config.json", lambda v: v["text_config"].update(vocab_size=VOCABULARY - 1))
    return f"tokenizer of {VOCABULARY} tokens and a model of {VOCABULARY - 1}"


def mistake_the_end(folder):
    change_json(folder / "config.json", lambda v: v["text_config"].update(eos_token_id=7))
    return f"ends texts with the token [{VOCABULARY - 1}] and a model that looks for 7"


def mistake_the_size(folder):
    change_json(folder / "preprocessor_config.json", lambda v: v.update(size=224, crop_size=224))
    return "does not make images of 30 × 30 pixels"


def be_another_model(folder):
    change_json(folder / "config.json", lambda v: v.update(model_type="siglip"))
    return "model_type 'siglip'"


@pytest.mark.parametrize(
    "fault",
    [
        lose_weights,
        truncate_weights,
        lose_a_tensor,
        lose_tokenizer,
        shrink_vocabulary,
        mistake_the_end,
        mistake_the_size,
        be_another_model,
    ],
)
def test_an_unfit_folder_is_refused_with_its_name(folder, fault):
    part = fault(folder)
    with pytest.raises(AudioSepError, match=str(folder)) as caught:
        clip.load(str(folder))
    assert part in str(caught.value)


def test_a_folder_with_the_old_end_of_text_is_pooled_at_the_highest_token(folder, encoder):
    change_json(folder / "config.json", lambda v: v["text_config"].update(eos_token_id=2))
    old = clip.load(str(folder))
    np.testing.assert_allclose(old.encode(CAPTIONS[:1]), encoder.encode(CAPTIONS[:1]), rtol=0, atol=1e-6)


def test_encoding_imports_neither_transformers_nor_pytorch(folder):
    script = (
        "import sys\n"
        "import numpy as np\n"
        "from audiosep_jax.config import QueryConfig\n"
        "from audiosep_jax.encoders.base import load_encoder\n"
        "lazy = {'tokenizers', 'PIL', 'audiosep_jax.encoders.clip.encoder'}\n"
        "assert not lazy & set(sys.modules)\n"
        "encoder = load_encoder(QueryConfig(encoder='clip', source=sys.argv[1]))\n"
        "encoder.encode(['a dog barking'])\n"
        "encoder.encode_images([np.zeros((9, 9, 3), np.uint8)])\n"
        "print(sorted({'torch', 'transformers', 'huggingface_hub'} & set(sys.modules)))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, str(folder)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "[]"
