import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from audiosep_jax.encoders import bert, model_files
from audiosep_jax.errors import AudioSepError

DATA = Path(__file__).parents[1] / "data"

# Recorded from transformers 5.23 with PyTorch 2.13: 3 layers, 4 heads, ReLU; 1 layer, 5 heads, tanh-GELU.
TINY = ["tiny_bert_relu", "tiny_bert_tanh"]


def load(name):
    config = bert.load_config(DATA / name / "config.json")
    return config, dict(model_files.TensorFile(DATA / name / "model.safetensors"))


@pytest.mark.parametrize("name", TINY)
def test_hidden_states_are_those_of_transformers(name):
    config, tensors = load(name)
    expected = np.load(DATA / name / "expected.npz")
    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        hidden = jax.jit(bert.apply, static_argnums=0)(
            config, bert.parameters(config, tensors), expected["token_ids"], expected["mask"]
        )
    assert np.std(expected["hidden"]) > 0.5
    np.testing.assert_allclose(hidden, expected["hidden"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", TINY)
def test_parameters_have_the_names_and_shapes_of_init(name):
    config, tensors = load(name)

    def shapes(tree):
        return {jax.tree_util.keystr(path): leaf.shape for path, leaf in jax.tree.leaves_with_path(tree)}

    ids = jnp.zeros((1, 1), jnp.int32)
    init = jax.eval_shape(bert.Bert(config).init, jax.random.key(0), ids, ids == 0)
    expected = shapes(init["params"])
    assert shapes(bert.parameters(config, tensors)) == expected
    assert len(expected) == 5 + 8 * 2


def test_padding_values_change_nothing():
    config, tensors = load("tiny_bert_relu")
    params = bert.parameters(config, tensors)
    ids = np.array([[3, 8, 21, 5]], np.int32)
    apply = jax.jit(bert.apply, static_argnums=0)
    alone = apply(config, params, ids, np.ones((1, 4), bool))
    for filler, width in ((0, 5), (60, 20)):
        padded = np.full((2, width), filler, np.int32)
        padded[0, :4] = ids
        mask = np.zeros((2, width), bool)
        mask[0, :4] = mask[1] = True
        hidden = apply(config, params, padded, mask)
        np.testing.assert_allclose(hidden[:1, :4], alone, rtol=0, atol=2e-6)
    # Without the mask it would: the comparison above can fail.
    seen = apply(config, params, padded, np.ones((2, 20), bool))
    assert not np.allclose(seen[:1, :4], alone, atol=1e-2)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float16, 1e-3), (ml_dtypes.bfloat16, 1e-2)])
def test_half_precision_weights_become_float32(dtype, tolerance):
    config, tensors = load("tiny_bert_tanh")
    params = bert.parameters(config, {name: value.astype(dtype) for name, value in tensors.items()})
    exact = bert.parameters(config, tensors)
    for got, wanted in zip(jax.tree.leaves(params), jax.tree.leaves(exact), strict=True):
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tolerance)


def test_every_unfit_tensor_is_named_at_once():
    config, tensors = load("tiny_bert_relu")
    del tensors["encoder.layer.2.output.dense.bias"]
    del tensors["embeddings.LayerNorm.weight"]
    tensors["encoder.layer.0.intermediate.dense.weight"] = np.zeros((24, 40), np.float32)
    tensors["encoder.layer.1.output.LayerNorm.bias"] = np.zeros(24, np.int64)
    tensors["encoder.layer.3.output.dense.bias"] = np.zeros(24, np.float32)
    with pytest.raises(AudioSepError) as caught:
        bert.parameters(config, tensors, where="some/model.safetensors")
    text = str(caught.value)
    for part in (
        "some/model.safetensors",
        "missing encoder.layer.2.output.dense.bias",
        "missing embeddings.LayerNorm.weight",
        "mis-shaped encoder.layer.0.intermediate.dense.weight (float32 (24, 40), float (40, 24) is needed)",
        "mis-shaped encoder.layer.1.output.LayerNorm.bias (int64",
        "unmapped encoder.layer.3.output.dense.bias",
    ):
        assert part in text
    assert text.count("missing") + text.count("mis-shaped") + text.count("unmapped") == 5
    tensors["cls.predictions.bias"] = np.zeros(61, np.float32)
    with pytest.raises(AudioSepError, match=r"unmapped cls\.predictions\.bias and 1 more\.$"):
        bert.parameters(config, tensors)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"model_type": "mpnet"}, "model_type 'mpnet'"),
        ({"hidden_act": "mish"}, "hidden_act is 'mish'"),
        ({"num_attention_heads": 7}, "multiple of num_attention_heads (7)"),
        ({"num_hidden_layers": 0}, "must be positive"),
        ({"layer_norm_eps": "small"}, "layer_norm_eps is 'small'"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type 'relative_key'"),
        ({"vocab_size": None, "hidden_size": None}, "lacks vocab_size, hidden_size"),
    ],
)
def test_an_unfit_config_is_refused_with_its_file(tmp_path, change, part):
    values = json.loads((DATA / "tiny_bert_relu" / "config.json").read_text()) | change
    path = tmp_path / "config.json"
    path.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))
    with pytest.raises(AudioSepError, match=str(path)) as caught:
        bert.load_config(path)
    assert part in str(caught.value)


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[1]"])
def test_a_broken_config_is_refused_with_its_file(tmp_path, content):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(AudioSepError, match=str(path)):
        bert.load_config(path)


def test_a_truncated_weight_file_is_refused_with_its_file(tmp_path):
    path = tmp_path / "model.safetensors"
    shutil.copy(DATA / "tiny_bert_relu" / "model.safetensors", path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(AudioSepError, match=r"model\.safetensors is damaged or not a safetensors file"):
        dict(model_files.TensorFile(path))


def test_bfloat16_files_are_read(tmp_path):
    save_file({"a": np.ones(3, ml_dtypes.bfloat16)}, tmp_path / "model.safetensors")
    assert jnp.issubdtype(model_files.TensorFile(tmp_path / "model.safetensors")["a"].dtype, np.floating)
