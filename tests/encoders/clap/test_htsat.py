import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_inputs import SEED, reference_tensor, waveform
from htsat_inputs import CASES, case
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from audiosep_jax.encoders.clap import htsat, laion_config, log_mel
from audiosep_jax.encoders.clap import params as clap_weights
from audiosep_jax.encoders.clap.config import HtsatConfig
from audiosep_jax.errors import AudioSepError

DATA = Path(__file__).parents[2] / "data"
apply = jax.jit(htsat.apply, static_argnums=0)


@pytest.fixture(scope="module")
def records():
    return np.load(DATA / "htsat_records.npz")


@pytest.mark.parametrize("name", list(CASES))
def test_latents_are_those_of_transformers(name, records):
    config, tensors, frames = case(name)
    params = clap_weights.htsat_parameters(config, tensors, layout="transformers")
    expected = records[f"{name}/latent"]
    latent = apply(config, params, frames)
    assert latent.shape == (2, config.latent_size)
    assert latent.dtype == jnp.float32
    assert np.std(expected) > 0.1
    np.testing.assert_allclose(latent, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


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
    params = clap_weights.htsat_parameters(config, tensors, layout="transformers")
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
    config = laion_config.htsat_config(shapes)
    expected = HtsatConfig(embed_dim=128, depths=(2, 2, 12, 2), heads=(4, 8, 16, 32))
    assert config == expected
    constants = ("_extractor", "attn_mask", "_index", "_tracked", "tscam_conv", "head")
    params = clap_weights.htsat_parameters(
        config,
        {
            name: reference_tensor(name, shape)
            for name, shape in shapes.items()
            if not any(part in name for part in constants)
        },
        layout="laion",
    )
    front_end = log_mel.LogMelConfig()
    waveforms = np.stack([waveform(480_000, SEED + 70), waveform(480_000, SEED + 71)])
    frames = log_mel.log_mel(jnp.asarray(waveforms), config=front_end, matrix=log_mel.mel_matrix(front_end))
    latent = apply(config, params, frames)
    np.testing.assert_allclose(latent, record["htsat_embedding"], rtol=0, atol=1e-5)


@given(window=st.integers(1, 6))
def test_relative_positions(window):
    index = htsat.relative_position_index(window)
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
    mask = htsat.shift_mask((height, width), window=window, shift=shift)
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
    params = clap_weights.htsat_parameters(config, tensors, layout="transformers")
    with pytest.raises(AudioSepError, match="takes 1 to 256 frames of 16"):
        htsat.apply(config, params, jnp.zeros(shape))
