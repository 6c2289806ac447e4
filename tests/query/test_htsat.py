import json
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from golden_inputs import SEED, reference_tensor, waveform
from htsat_inputs import CASES, spectrograms, tensor
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from audiosep_jax.errors import AudioSepError
from audiosep_jax.query import htsat, htsat_blocks, htsat_weights, log_mel
from audiosep_jax.query.htsat import HtsatConfig

DATA = Path(__file__).parents[1] / "data"
NAMES_OF_LAION = {
    "audio_model.audio_encoder.": "audio_branch.",
    "batch_norm": "bn0",
    "attention.self.relative": "attn.relative",
    "attention.output.dense": "attn.proj",
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
}
apply = jax.jit(htsat.apply, static_argnums=0)


@pytest.fixture(scope="module")
def records():
    return np.load(DATA / "htsat_records.npz")


def case(name):
    """The config, the tensors by transformers' names, and the spectrograms of a record."""
    values, frames = CASES[name]
    shapes = json.loads((DATA / "htsat_records.json").read_text("utf-8"))[name]
    tensors = {
        key: np.zeros(shape, np.int64) if key.endswith(("_index", "_tracked")) else tensor(key, tuple(shape))
        for key, shape in shapes.items()
    }
    return HtsatConfig(**values), tensors, spectrograms(frames, values["mel_bins"])


def as_laion(config, tensors):
    """The same tower by LAION's names, with the constants that LAION's files hold."""
    laion = {}
    for name, value in tensors.items():
        if ".attention.self.query." in name:
            parts = [tensors[name.replace("query", part)] for part in ("query", "key", "value")]
            name, value = name.replace("attention.self.query", "attn.qkv"), np.concatenate(parts)
        elif ".attention.self." in name and "relative" not in name:
            continue
        for theirs, laions in NAMES_OF_LAION.items():
            name = name.replace(theirs, laions)
        laion[name] = value
    for stage, depth in enumerate(config.depths):
        height, width = config.resolution(stage)
        window = config.window_size
        for block in range(1, depth, 2):
            if min(height, width) > window:
                windows = (height // window) * (width // window)
                mask = np.zeros((windows, window**2, window**2), np.float32)
                laion[f"audio_branch.layers.{stage}.blocks.{block}.attn_mask"] = mask
    laion["audio_branch.tscam_conv.weight"] = np.zeros((7, config.latent_size, 1, 3), np.float32)
    laion["audio_branch.logmel_extractor.melW"] = np.zeros((9, config.mel_bins), np.float32)
    laion["text_branch.somebody.elses"] = np.zeros(3, np.float32)
    return laion


@pytest.mark.parametrize("name", list(CASES))
def test_latents_are_those_of_transformers(name, records):
    config, tensors, frames = case(name)
    params = htsat_weights.parameters_from_transformers(config, tensors)
    expected = records[f"{name}/latent"]
    latent = apply(config, params, frames)
    assert latent.shape == (2, config.latent_size)
    assert latent.dtype == jnp.float32
    assert np.std(expected) > 0.1
    np.testing.assert_allclose(latent, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", list(CASES))
def test_both_layouts_give_the_tree_of_the_module(name):
    config, tensors, frames = case(name)
    params = htsat_weights.parameters_from_transformers(config, tensors)
    laion = htsat_weights.parameters_from_laion(config, as_laion(config, tensors))
    jax.tree.map(np.testing.assert_array_equal, laion, params)

    tree = jax.eval_shape(htsat.Htsat(config).init, jax.random.key(0), frames)["params"]
    shapes = jax.tree.map(lambda leaf: leaf.shape, params)
    assert shapes == jax.tree.map(lambda leaf: leaf.shape, dict(tree))


def test_latents_of_a_folder_that_transformers_wrote():
    folder = DATA / "golden" / "hf_clap_tiny"
    tensors, expected = load_file(folder / "model.safetensors"), np.load(folder / "expected.npz")
    audio = json.loads((folder / "config.json").read_text("utf-8"))["audio_config"]
    config = HtsatConfig(
        embed_dim=audio["patch_embeds_hidden_size"],
        depths=tuple(audio["depths"]),
        heads=tuple(audio["num_attention_heads"]),
        spec_size=audio["spec_size"],
        mel_bins=audio["num_mel_bins"],
        window_size=audio["window_size"],
    )
    params = htsat_weights.parameters_from_transformers(config, tensors)
    latent = np.asarray(apply(config, params, expected["input_features"][:, 0]))
    for layer, activation in (("linear1", lambda x: np.maximum(x, 0)), ("linear2", lambda x: x)):
        weight, bias = (tensors[f"audio_projection.{layer}.{kind}"] for kind in ("weight", "bias"))
        latent = activation(latent @ weight.T + bias[None])
    latent = latent / np.linalg.norm(latent, axis=-1, keepdims=True)
    np.testing.assert_allclose(latent, expected["audio_embeds"], rtol=0, atol=1e-5)


@pytest.mark.slow
def test_golden_latents_of_laion():
    """HTSAT-base on ten seconds, from the waveforms."""
    record = np.load(DATA / "golden" / "laion_clap.npz")
    keys = json.loads((DATA / "golden" / "laion_clap.keys.json").read_text("utf-8"))
    shapes = {name: tuple(shape) for name, shape in keys.items() if name.startswith("audio_branch.")}
    config = htsat_weights.config_from_laion(shapes)
    expected = HtsatConfig(embed_dim=128, depths=(2, 2, 12, 2), heads=(4, 8, 16, 32))
    assert config == expected
    constants = ("_extractor", "attn_mask", "_index", "_tracked", "tscam_conv", "head")
    params = htsat_weights.parameters_from_laion(
        config,
        {
            name: reference_tensor(name, shape)
            for name, shape in shapes.items()
            if not any(part in name for part in constants)
        },
    )
    front_end = log_mel.LogMelConfig()
    waveforms = np.stack([waveform(480_000, SEED + 70), waveform(480_000, SEED + 71)])
    frames = log_mel.log_mel(jnp.asarray(waveforms), config=front_end, matrix=log_mel.mel_matrix(front_end))
    latent = apply(config, params, frames)
    np.testing.assert_allclose(latent, record["htsat_embedding"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_weights_become_float32(dtype):
    config, tensors, _ = case("oblong")
    halved = {name: value.astype(dtype) for name, value in tensors.items()}
    params = htsat_weights.parameters_from_transformers(config, halved)
    exact = htsat_weights.parameters_from_transformers(config, tensors)
    for got, wanted in zip(jax.tree.leaves(params), jax.tree.leaves(exact), strict=True):
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, wanted, rtol=1e-2, atol=1e-2)


@given(window=st.integers(1, 6))
def test_relative_positions(window):
    index = htsat_blocks.relative_position_index(window)
    places = [(row, column) for row in range(window) for column in range(window)]
    for query, (row, column) in enumerate(places):
        for key, (other_row, other_column) in enumerate(places):
            down, right = row - other_row + window - 1, column - other_column + window - 1
            assert index[query, key] == down * (2 * window - 1) + right
    assert index.min() == 0
    assert index.max() == (2 * window - 1) ** 2 - 1


@given(window=st.integers(2, 4), tall=st.integers(2, 3), wide=st.integers(2, 3), data=st.data())
def test_shift_mask_keeps_neighbours_of_the_border_apart(window, tall, wide, data):
    shift = data.draw(st.integers(1, window - 1))
    height, width = tall * window, wide * window
    mask = htsat_blocks.shift_mask((height, width), window=window, shift=shift)
    assert mask.shape == (tall * wide, window**2, window**2)
    assert mask.dtype == np.float32
    # Where each position of the shifted image stood before the shift.
    rows, columns = np.divmod(np.arange(height * width).reshape(height, width), width)
    places = np.roll(np.stack([rows, columns], -1), (-shift, -shift), axis=(0, 1))
    for number in range(tall * wide):
        top, left = number // wide * window, number % wide * window
        inside = places[top : top + window, left : left + window].reshape(-1, 2)
        # Positions belong together if they are as far apart as in the window: nothing wrapped between them.
        together = (np.abs(inside[:, None] - inside[None]) < window).all(-1)
        np.testing.assert_array_equal(mask[number] == 0, together)
        assert set(np.unique(mask[number])) <= {-100, 0}


def test_interpolation_is_that_of_pytorch(records):
    cases = [name for name in records if name.startswith("interpolate/")]
    assert len(cases) >= 6
    for name in cases:
        size, to = map(int, name.split("/")[1:])
        signal = np.float32(np.random.default_rng(size).standard_normal(size) * 30)
        matrix = htsat.interpolation_matrix(size, to=to)
        np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-6)
        np.testing.assert_allclose(matrix @ signal, records[name], rtol=0, atol=1e-4)


@pytest.mark.parametrize(("mel_bins", "ratio"), [(3, 1), (1, 3), (4, 2)])
def test_folding_stacks_pieces_of_time_along_frequency(mel_bins, ratio):
    size = mel_bins * ratio
    config = HtsatConfig(
        embed_dim=1,
        depths=(1,),
        heads=(1,),
        spec_size=size,
        mel_bins=mel_bins,
        patch_size=1,
        patch_stride=(1, 1),
    )
    assert (config.freq_ratio, config.most_frames) == (ratio, size * ratio)
    frames = np.arange(size * ratio * mel_bins, dtype=np.float32).reshape(1, size * ratio, mel_bins)
    image = np.asarray(htsat.fold(config, jnp.asarray(frames)))[0]
    for piece in range(ratio):
        rows = image[piece * mel_bins : (piece + 1) * mel_bins]
        np.testing.assert_array_equal(rows, frames[0, piece * size : (piece + 1) * size].T)


def test_config_is_read_from_laions_tensors():
    config, tensors, _ = case("small_stages")
    shapes = {key: value.shape for key, value in as_laion(config, tensors).items()}
    found = htsat_weights.config_from_laion(shapes)
    # The activation leaves no trace; LAION has one kind.
    assert found == HtsatConfig(**CASES["small_stages"][0] | {"hidden_act": "gelu"})
    htsat_weights.parameters_from_laion(found, as_laion(config, tensors))


def test_config_of_a_tower_without_shifts():
    """Its window is the whole image, which therefore has no attention mask."""
    shapes = {
        "audio_branch.patch_embed.proj.weight": (6, 1, 2, 2),
        "audio_branch.bn0.weight": (10,),
        "audio_branch.layers.0.blocks.0.attn.relative_position_bias_table": (19**2, 3),
        "audio_branch.layers.0.blocks.0.mlp.fc1.weight": (12, 6),
        "audio_branch.layers.0.blocks.1.mlp.fc1.weight": (12, 6),
    }
    assert htsat_weights.config_from_laion(shapes) == HtsatConfig(
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
        ({"bn0.weight": None}, "big.pt holds no HTSAT audio tower: audio_branch.bn0.weight is missing"),
        ({"bn0.weight": (4, 4)}, r"bn0.weight is of shape \(4, 4\), but 1 axes are needed"),
        ({"patch_embed.mel_conv2d.weight": (8, 1, 4, 12)}, "big.pt is a CLAP with feature fusion"),
        (
            {"layers.0.blocks.0.attn.relative_position_bias_table": (225, 3)},
            "big.pt holds no usable HTSAT audio tower: stage 0 has size 8: .* multiple of its 3 heads",
        ),
        ({"bn0.weight": (70,)}, "spec_size is 64"),
        ({"layers.0.blocks.1.attn_mask": (0, 64, 64)}, "no usable HTSAT audio tower: all of .* be positive"),
    ],
)
def test_unreadable_towers_are_refused(change, sentence):
    config, tensors, _ = case("small_stages")
    shapes = {name: value.shape for name, value in as_laion(config, tensors).items()}
    shapes |= {f"audio_branch.{name}": shape for name, shape in change.items()}
    shapes = {name: shape for name, shape in shapes.items() if shape is not None}
    with pytest.raises(AudioSepError, match=sentence):
        htsat_weights.config_from_laion(shapes, where="big.pt")


@pytest.mark.parametrize("layout", ["laion", "transformers"])
def test_every_unfit_tensor_is_named_at_once(layout):
    config, tensors, _ = case("small_stages")
    if layout == "laion":
        read, tensors = htsat_weights.parameters_from_laion, as_laion(config, tensors)
        prefix, table = "audio_branch.", "audio_branch.layers.0.blocks.2.attn.relative_position_bias_table"
    else:
        read, prefix = htsat_weights.parameters_from_transformers, "audio_model.audio_encoder."
        table = f"{prefix}layers.0.blocks.2.attention.self.relative_position_bias_table"
    del tensors[f"{prefix}norm.bias"], tensors[f"{prefix}layers.0.downsample.reduction.weight"]
    tensors[table] = tensors[table][:-1]
    tensors[f"{prefix}layers.1.blocks.3.surprise"] = np.zeros(2, np.float32)
    tensors[f"{prefix}patch_embed.proj.bias"] = np.zeros(8, np.int32)
    with pytest.raises(AudioSepError) as caught:
        read(config, tensors, where="folder/model.safetensors")
    message = str(caught.value)
    assert message.startswith("folder/model.safetensors does not hold the ")
    assert message.count(";") == 4
    for problem in (
        f"missing {prefix}norm.bias",
        f"missing {prefix}layers.0.downsample.reduction.weight",
        f"mis-shaped {table} (float32 (224, 1), float (225, 1) is needed)",
        f"mis-shaped {prefix}patch_embed.proj.bias (int32",
        f"unmapped {prefix}layers.1.blocks.3.surprise",
    ):
        assert problem in message


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"embed_dim": 0}, "must be positive"),
        ({"depths": (2, 0, 1, 1)}, "must be positive"),
        ({"depths": (2, 2)}, "must have one entry for each stage"),
        ({"depths": (), "heads": ()}, "must have one entry for each stage"),
        ({"heads": (4, 8, 16, 24)}, "stage 3 has size 1024: it must be a multiple of its 24 heads"),
        ({"hidden_act": "mish"}, "hidden_act is 'mish': only gelu"),
        ({"mel_bins": 300}, "spec_size is 256"),
        ({"spec_size": 64, "mel_bins": 20}, "spec_size is 64"),
        ({"patch_size": 7}, "patches of 7 at a stride of 4 must tile spec_size 256"),
        ({"patch_stride": (4, 16)}, "patches of 4 at a stride of 16 must tile"),
        ({"spec_size": 48, "mel_bins": 16}, "that 4 stages can halve: a multiple of 8"),
    ],
)
def test_impossible_towers_are_refused(values, sentence):
    usual = {"embed_dim": 128, "depths": (2, 2, 12, 2), "heads": (4, 8, 16, 32)}
    with pytest.raises(AudioSepError, match=sentence):
        HtsatConfig(**usual | values)


@pytest.mark.parametrize("shape", [(1, 257, 16), (1, 0, 16), (1, 20, 17)])
def test_spectrograms_that_do_not_fit_are_refused(shape):
    config, tensors, _ = case("small_stages")
    params = htsat_weights.parameters_from_transformers(config, tensors)
    with pytest.raises(AudioSepError, match="takes 1 to 256 frames of 16"):
        htsat.apply(config, params, jnp.zeros(shape))
