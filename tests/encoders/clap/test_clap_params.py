import jax
import ml_dtypes
import numpy as np
import pytest
from htsat_inputs import CASES, as_laion, case

from audiosep_jax.encoders.clap import htsat, laion_config
from audiosep_jax.encoders.clap import params as clap_weights
from audiosep_jax.encoders.clap.config import HtsatConfig
from audiosep_jax.errors import AudioSepError


@pytest.mark.parametrize("name", list(CASES))
def test_both_layouts_give_the_tree_of_the_module(name):
    config, tensors, frames = case(name)
    params = clap_weights.htsat_parameters(config, tensors, layout="transformers")
    laion = clap_weights.htsat_parameters(config, as_laion(config, tensors), layout="laion")
    jax.tree.map(np.testing.assert_array_equal, laion, params)

    tree = jax.eval_shape(htsat.Htsat(config).init, jax.random.key(0), frames)["params"]
    shapes = jax.tree.map(lambda leaf: leaf.shape, params)
    assert shapes == jax.tree.map(lambda leaf: leaf.shape, dict(tree))


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_weights_become_float32(dtype):
    config, tensors, _ = case("oblong")
    halved = {name: value.astype(dtype) for name, value in tensors.items()}
    params = clap_weights.htsat_parameters(config, halved, layout="transformers")
    exact = clap_weights.htsat_parameters(config, tensors, layout="transformers")
    for got, wanted in zip(jax.tree.leaves(params), jax.tree.leaves(exact), strict=True):
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, wanted, rtol=1e-2, atol=1e-2)


def test_config_is_read_from_laions_tensors():
    config, tensors, _ = case("small_stages")
    shapes = {key: value.shape for key, value in as_laion(config, tensors).items()}
    found = laion_config.htsat_config(shapes)
    # The activation leaves no trace; LAION has one kind.
    assert found == HtsatConfig(**CASES["small_stages"][0] | {"hidden_act": "gelu"})
    clap_weights.htsat_parameters(found, as_laion(config, tensors), layout="laion")


def test_config_of_a_tower_without_shifts():
    """Its window is the whole image, which therefore has no attention mask."""
    shapes = {
        "audio_branch.patch_embed.proj.weight": (6, 1, 2, 2),
        "audio_branch.bn0.weight": (10,),
        "audio_branch.layers.0.blocks.0.attn.relative_position_bias_table": (19**2, 3),
        **{
            f"audio_branch.layers.0.blocks.{block}.{name}": shape
            for block in range(2)
            for name, shape in (
                ("mlp.fc1.weight", (12, 6)),
                ("mlp.fc1.bias", (12,)),
                ("norm1.weight", (6,)),
                ("norm2.weight", (6,)),
            )
        },
    }
    assert laion_config.htsat_config(shapes) == HtsatConfig(
        embed_dim=6,
        depths=(2,),
        heads=(3,),
        spec_size=20,
        mel_bins=10,
        patch_size=2,
        patch_stride=(2, 2),
        patch_norm=False,
        window_size=10,
        mlp_ratio=2.0,
        qkv_bias=False,
    )


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"patch_embed.mel_conv2d.weight": (8, 1, 4, 12)}, "big.pt is a CLAP with feature fusion"),
        (
            {f"bn0.{leaf}": (70,) for leaf in ("weight", "bias", "running_mean", "running_var")},
            "spec_size is 64",
        ),
    ],
)
def test_unreadable_towers_are_refused(change, sentence):
    config, tensors, _ = case("small_stages")
    shapes = {name: value.shape for name, value in as_laion(config, tensors).items()}
    shapes |= {f"audio_branch.{name}": shape for name, shape in change.items()}
    shapes = {name: shape for name, shape in shapes.items() if shape is not None}
    with pytest.raises(AudioSepError, match=sentence):
        laion_config.htsat_config(shapes, where="big.pt")


@pytest.mark.parametrize("layout", ["laion", "transformers"])
def test_every_unfit_tensor_is_named_at_once(layout):
    config, tensors, _ = case("small_stages")
    if layout == "laion":
        tensors = as_laion(config, tensors)
        prefix, table = "audio_branch.", "audio_branch.layers.0.blocks.2.attn.relative_position_bias_table"
    else:
        prefix = "audio_model.audio_encoder."
        table = f"{prefix}layers.0.blocks.2.attention.self.relative_position_bias_table"
    del tensors[f"{prefix}norm.bias"], tensors[f"{prefix}layers.0.downsample.reduction.weight"]
    tensors[table] = tensors[table][:-1]
    tensors[f"{prefix}layers.1.blocks.3.surprise"] = np.zeros(2, np.float32)
    tensors[f"{prefix}patch_embed.proj.bias"] = np.zeros(8, np.int32)
    with pytest.raises(AudioSepError) as caught:
        clap_weights.htsat_parameters(config, tensors, layout=layout, where="folder/model.safetensors")
    message = str(caught.value)
    assert message.startswith("folder/model.safetensors does not hold the ")
    assert message.count("missing") + message.count("mis-shaped") + message.count("unmapped") == 5
    for problem in (
        f"missing {prefix}norm.bias",
        f"missing {prefix}layers.0.downsample.reduction.weight",
        f"mis-shaped {table} (float32 (224, 1), float (225, 1) is needed)",
        f"mis-shaped {prefix}patch_embed.proj.bias (int32",
        f"unmapped {prefix}layers.1.blocks.3.surprise",
    ):
        assert problem in message
