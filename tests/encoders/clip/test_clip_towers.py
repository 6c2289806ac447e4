import json
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from golden_inputs import reference_tensor

from audiosep_jax.encoders import model_files
from audiosep_jax.encoders.clip import config as clip_config
from audiosep_jax.encoders.clip import params as clip_weights
from audiosep_jax.encoders.clip import towers
from audiosep_jax.errors import AudioSepError

DATA = Path(__file__).parents[2] / "data"
GOLDEN = DATA / "golden" / "hf_clip_tiny"

# Recorded from transformers 5.23 with PyTorch 2.13: make_clip_records.py. Between 1 and 5 layers, 1 and 12
# heads, 1 and 36 patches, three kinds of GELU, both rules for the place of the end of text, keys left to
# defaults.
RECORDS = json.loads((DATA / "clip_towers.json").read_text("utf-8"))
OUTPUTS = np.load(DATA / "clip_towers.npz")

# Each record compiles its own towers once: that need not be fast code.
PLAIN = {"xla_backend_optimization_level": 0}
text_embeddings = jax.jit(towers.text_embeddings, static_argnums=0, compiler_options=PLAIN)
image_embeddings = jax.jit(towers.image_embeddings, static_argnums=0, compiler_options=PLAIN)


def load(name, folder):
    (folder / "config.json").write_text(json.dumps(RECORDS[name]["config"]))
    shapes = RECORDS[name]["shapes"]
    tensors = {key: np.asarray(reference_tensor(key, tuple(shape))) for key, shape in shapes.items()}
    return clip_config.load_config(folder / "config.json"), tensors


def token_ids(config):
    """As in make_clip_records.py: texts that end at different places, with other tokens after the end."""
    text = config.text
    last = text.eos_token_id if text.eos_token_id != 2 else text.vocab_size - 1
    ids = np.random.default_rng(5).integers(0, text.vocab_size - 1, (3, text.max_position_embeddings))
    ids[ids == last] = 0
    for row, place in enumerate((2, ids.shape[1] // 2, ids.shape[1] - 1)):
        ids[row, place] = last
    ids[0, -1] = last
    return ids.astype(np.int32)


def pixels(config):
    size = config.vision.image_size
    return np.random.default_rng(6).standard_normal((2, size, size, 3)).astype(np.float32)


def close(got, wanted, tolerance=1e-5):
    assert np.std(wanted) > 0.1
    np.testing.assert_allclose(got, wanted, rtol=0, atol=tolerance * np.abs(wanted).max())


def test_embeddings_are_those_of_the_golden_record():
    config = clip_config.load_config(GOLDEN / "config.json")
    params = clip_weights.parameters(config, dict(model_files.TensorFile(GOLDEN / "model.safetensors")))
    expected = np.load(GOLDEN / "expected.npz")
    close(text_embeddings(config, params, expected["input_ids"].astype(np.int32)), expected["text_embeds"])
    images = expected["pixel_values"].transpose(0, 2, 3, 1)
    close(image_embeddings(config, params, images), expected["image_embeds"])


@pytest.mark.parametrize("name", list(RECORDS))
def test_embeddings_of_other_shapes_are_those_of_transformers(name, tmp_path):
    config, tensors = load(name, tmp_path)
    params = clip_weights.parameters(config, tensors)
    close(text_embeddings(config, params, token_ids(config)), OUTPUTS[f"{name}/text_embeds"])
    close(image_embeddings(config, params, pixels(config)), OUTPUTS[f"{name}/image_embeds"])


@pytest.mark.parametrize("name", ["gelu", "defaults"])
def test_parameters_have_the_names_and_shapes_of_init(name, tmp_path):
    config, tensors = load(name, tmp_path)

    def shapes(tree):
        return {jax.tree_util.keystr(path): leaf.shape for path, leaf in jax.tree.leaves_with_path(tree)}

    expected = shapes(jax.eval_shape(lambda key: towers.init(config, key), jax.random.key(0)))
    assert shapes(clip_weights.parameters(config, tensors)) == expected
    assert len(expected) == 5 + 8 + 2 * 16


def test_tokens_after_the_end_of_text_change_nothing(tmp_path):
    config, tensors = load("gelu", tmp_path)
    params = clip_weights.parameters(config, tensors)
    rows = [[90, 3, 5, 96, *tail] for tail in ([0] * 5, [96] * 5, [7, 96, 8, 2, 9])]
    # What stands before it does change it.
    rows.append([90, 3, 6, 96, 0, 0, 0, 0, 0])
    first, *same, other = text_embeddings(config, params, np.array(rows, np.int32))
    for embedding in same:
        close(embedding, first, 2e-6)
    assert np.max(np.abs(other - first)) > 0.05


def test_the_end_of_text_is_the_first_one_or_by_the_old_rule_the_highest():
    ids = jnp.array([[5, 9, 2, 9, 2], [9, 1, 1, 2, 0]])
    assert towers.end_of_text(ids, eos_token_id=2).tolist() == [1, 0]
    assert towers.end_of_text(ids, eos_token_id=1).tolist() == [0, 1]
    assert towers.end_of_text(ids, eos_token_id=9).tolist() == [1, 0]


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float16, 1e-3), (ml_dtypes.bfloat16, 1e-2)])
def test_half_precision_weights_become_float32(dtype, tolerance, tmp_path):
    config, tensors = load("gelu", tmp_path)
    params = clip_weights.parameters(config, {name: value.astype(dtype) for name, value in tensors.items()})
    exact = clip_weights.parameters(config, tensors)
    for got, wanted in zip(jax.tree.leaves(params), jax.tree.leaves(exact), strict=True):
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tolerance)


def test_every_unfit_tensor_is_named_at_once(tmp_path):
    config, tensors = load("gelu", tmp_path)
    # Buffers of older versions: no reason to complain.
    tensors["text_model.embeddings.position_ids"] = np.arange(20)[None]
    tensors["vision_model.embeddings.position_ids"] = np.arange(17)[None]
    clip_weights.parameters(config, tensors)
    del tensors["text_model.encoder.layers.2.mlp.fc1.bias"]
    del tensors["visual_projection.weight"]
    tensors["vision_model.embeddings.patch_embedding.weight"] = np.zeros((20, 3, 6, 6), np.float32)
    tensors["text_model.final_layer_norm.bias"] = np.zeros(16, np.int64)
    tensors["text_model.encoder.layers.3.mlp.fc1.bias"] = np.zeros(40, np.float32)
    with pytest.raises(AudioSepError) as caught:
        clip_weights.parameters(config, tensors, where="some/model.safetensors")
    text = str(caught.value)
    for part in (
        "some/model.safetensors does not hold the CLIP",
        "missing text_model.encoder.layers.2.mlp.fc1.bias",
        "missing visual_projection.weight",
        "patch_embedding.weight (float32 (20, 3, 6, 6), float (20, 3, 7, 7) is needed)",
        "mis-shaped text_model.final_layer_norm.bias (int64",
        "unmapped text_model.encoder.layers.3.mlp.fc1.bias",
    ):
        assert part in text
    assert text.count("missing") + text.count("mis-shaped") + text.count("unmapped") == 5


def test_missing_keys_take_the_defaults_of_vit_b_32(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"model_type": "clip", "text_config": null, "vision_config": {"patch_size": 16}}')
    config = clip_config.load_config(path)
    assert (config.projection_dim, config.text.hidden_size, config.text.eos_token_id) == (512, 512, 49407)
    assert (config.text.vocab_size, config.text.max_position_embeddings) == (49408, 77)
    assert (config.text.num_attention_heads, config.vision.num_attention_heads) == (8, 12)
    assert (config.text.intermediate_size, config.vision.intermediate_size) == (2048, 3072)
    assert (config.vision.hidden_size, config.vision.num_patches) == (768, 14 * 14)
    assert {config.text.hidden_act, config.vision.hidden_act} == {"quick_gelu"}
    assert {config.text.num_hidden_layers, config.vision.num_hidden_layers} == {12}
    assert {config.text.layer_norm_eps, config.vision.layer_norm_eps} == {1e-5}


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"model_type": "clap"}, "model_type 'clap'"),
        ({"model_type": "clip_text_model"}, "with both towers"),
        ({"projection_dim": 0}, "projection_dim is 0"),
        ({"projection_dim": "wide"}, "projection_dim 'wide'"),
        ({"text_config": [1]}, "text_config is [1]"),
        ({"text_config": {"hidden_act": "mish"}}, "hidden_act is 'mish'"),
        ({"text_config": {"num_attention_heads": 7}}, "multiple of num_attention_heads (7)"),
        ({"text_config": {"eos_token_id": [2, 3]}}, "text_config.eos_token_id is [2, 3]"),
        ({"text_config": {"num_hidden_layers": 0}}, "must be positive"),
        ({"vision_config": {"patch_size": 225}}, "must not exceed image_size (224)"),
        ({"vision_config": {"image_size": [8, 9]}}, "vision_config.image_size is [8, 9]"),
        ({"vision_config": {"num_channels": 1}}, "num_channels is 1"),
    ],
)
def test_an_unfit_config_is_refused_with_its_file(tmp_path, change, part):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"model_type": "clip"} | change))
    with pytest.raises(AudioSepError, match=str(path)) as caught:
        clip_config.load_config(path)
    assert part in str(caught.value)
