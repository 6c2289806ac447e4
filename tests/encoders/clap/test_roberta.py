import dataclasses
import json

import clap_folders
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from golden_inputs import reference_tensor
from hypothesis import given
from hypothesis import strategies as st

from audiosep_jax.encoders import model_files, tensor_mapping
from audiosep_jax.encoders.clap import config as clap_config
from audiosep_jax.encoders.clap import encoder as clap
from audiosep_jax.encoders.clap import laion_config, roberta
from audiosep_jax.encoders.clap import params as clap_weights
from audiosep_jax.encoders.clap.config import RobertaConfig
from audiosep_jax.errors import AudioSepError

BASE = RobertaConfig(
    vocab_size=50265,
    hidden_size=768,
    num_hidden_layers=12,
    num_attention_heads=12,
    intermediate_size=3072,
    max_position_embeddings=514,
    type_vocab_size=1,
    hidden_act="gelu",
    layer_norm_eps=1e-5,
    pad_token_id=1,
)
apply = jax.jit(roberta.apply, static_argnums=0)


def case(name):
    """The config of a recorded model and its text tower's tensors, by the names of a RobertaModel."""
    model = clap_folders.models_json()[name]
    values = model["config"]["text_config"]
    fields = {field.name: values.get(field.name) for field in dataclasses.fields(RobertaConfig)}
    config = RobertaConfig(**{key: fields[key] for key in fields})
    tensors = {
        key.removeprefix("text_model."): reference_tensor(key, tuple(shape))
        for key, shape in model["shapes"].items()
        if key.startswith("text_model.")
    }
    return config, tensors


def roberta_parameters(config, tensors, *, where="tensors"):
    return tensor_mapping.parameters(
        clap_weights.roberta_tree(config),
        tensors,
        what="RoBERTa",
        where=where,
        unused=clap_weights.UNUSED_ROBERTA,
    )


@pytest.mark.parametrize("name", clap_folders.NAMES)
def test_embeddings_are_those_of_transformers(tmp_path, name):
    config = clap_config.load(clap_folders.write_transformers(tmp_path, name))
    assert config.text == case(name)[0]
    expected = clap_folders.record(name)
    # A padding token stands inside the last text, and the longest text has every position.
    assert (expected["token_ids"][3] == config.text.pad_token_id)[expected["mask"][3]].any()
    assert expected["mask"][0].sum() == config.text.max_tokens
    params = clap_weights.text_parameters(config, model_files.TensorFile(tmp_path / "model.safetensors"))
    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        pooled = apply(config.text, params["roberta"], expected["token_ids"], expected["mask"])
        embedded = clap.project(config, params["projection"], pooled)
    assert np.std(expected["pooled"]) > 0.3
    np.testing.assert_allclose(pooled, expected["pooled"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(embedded, expected["text"], rtol=0, atol=2e-6)


def test_golden_text_embeddings_of_laion():
    """RoBERTa-base at full size, with the projection."""
    record = np.load(clap_folders.GOLDEN / "laion_clap.npz")
    shapes = json.loads((clap_folders.GOLDEN / "laion_clap.keys.json").read_text("utf-8"))
    config = laion_config.from_shapes({name: tuple(shape) for name, shape in shapes.items()})
    assert config.text == BASE
    assert (config.projection_size, config.projection_act) == (512, "relu")
    tensors = {
        name: reference_tensor(name, tuple(shape))
        for name, shape in shapes.items()
        if name.startswith(("text_branch.", "text_projection."))
    }
    params = clap_weights.text_parameters(config, tensors)
    ids, mask = record["input_ids"].astype(np.int32), record["attention_mask"].astype(bool)
    pooled = apply(config.text, params["roberta"], ids, mask)
    np.testing.assert_allclose(pooled, record["pooler_output"], rtol=0, atol=5e-5)
    embedded = clap.project(config, params["projection"], pooled)
    np.testing.assert_allclose(embedded, record["text_embedding"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", clap_folders.NAMES)
def test_parameters_have_the_names_and_shapes_of_init(name):
    config, tensors = case(name)

    def shapes(tree):
        return {jax.tree_util.keystr(path): leaf.shape for path, leaf in jax.tree.leaves_with_path(tree)}

    ids = jnp.zeros((1, 1), jnp.int32)
    init = jax.eval_shape(roberta.Roberta(config).init, jax.random.key(0), ids, ids == 0)
    expected = shapes(init["params"])
    assert shapes(roberta_parameters(config, tensors)) == expected


def test_padding_values_change_nothing():
    config, tensors = case("b")
    params = roberta_parameters(config, tensors)
    ids = np.array([[0, 8, 21, 2]], np.int32)
    alone = apply(config, params, ids, np.ones((1, 4), bool))
    for filler in (config.pad_token_id, 0, 60):
        padded = np.full((2, 20), filler, np.int32)
        padded[0, :4] = ids
        mask = np.zeros((2, 20), bool)
        mask[0, :4] = mask[1] = True
        np.testing.assert_allclose(apply(config, params, padded, mask)[:1], alone, rtol=0, atol=2e-6)
    # Without the mask it would: the comparison above can fail.
    seen = apply(config, params, padded, np.ones((2, 20), bool))
    assert not np.allclose(seen[:1], alone, atol=1e-2)


@given(
    texts=st.lists(st.lists(st.integers(0, 9), min_size=6, max_size=6), min_size=1, max_size=4),
    lengths=st.lists(st.integers(1, 6), min_size=4, max_size=4),
    padding=st.integers(0, 9),
)
def test_positions_skip_padding_tokens(texts, lengths, padding):
    config = dataclasses.replace(BASE, pad_token_id=padding)
    mask = np.arange(6)[None] < np.array(lengths[: len(texts)])[:, None]
    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        found = roberta.positions(config, jnp.asarray(texts, jnp.int32), jnp.asarray(mask))
    for text, length, row in zip(texts, lengths, np.asarray(found).tolist(), strict=False):
        position = padding
        for token, got in zip(text[:length], row, strict=False):
            position += token != padding
            assert got == (padding if token == padding else position)
        assert row[length:] == [padding] * (6 - length)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_weights_become_float32(dtype):
    config, tensors = case("c")
    params = roberta_parameters(config, {name: value.astype(dtype) for name, value in tensors.items()})
    for got, wanted in zip(
        jax.tree.leaves(params), jax.tree.leaves(roberta_parameters(config, tensors)), strict=True
    ):
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, wanted, rtol=1e-2, atol=1e-2)


def test_every_unfit_tensor_is_named_at_once():
    config, tensors = case("a")
    del tensors["pooler.dense.bias"]
    tensors["embeddings.position_embeddings.weight"] = np.zeros((4, 24), np.float32)
    tensors["encoder.layer.3.output.dense.bias"] = np.zeros(24, np.float32)
    with pytest.raises(AudioSepError) as caught:
        roberta_parameters(config, tensors, where="some/model.safetensors")
    text = str(caught.value)
    for part in (
        "some/model.safetensors",
        "missing pooler.dense.bias",
        "mis-shaped embeddings.position_embeddings.weight",
        "unmapped encoder.layer.3.output.dense.bias",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"pad_token_id": -1}, "pad_token_id is -1"),
        ({"pad_token_id": 50265}, "one of the 50265 tokens"),
        ({"max_position_embeddings": 4}, "no room for a text"),
        ({"num_attention_heads": 7}, "multiple of num_attention_heads (7)"),
        ({"hidden_act": "mish"}, "hidden_act is 'mish'"),
        ({"num_hidden_layers": 0}, "must be positive"),
    ],
)
def test_an_unfit_config_is_refused(change, part):
    with pytest.raises(AudioSepError) as caught:
        dataclasses.replace(BASE, **change)
    assert part in str(caught.value)
