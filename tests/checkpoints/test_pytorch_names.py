"""Our names and those of the reference's state dict match one to one."""

import dataclasses

import golden
import numpy as np
import pytest

from audiosep_jax.checkpoints.pytorch_names import from_pytorch, tensor_names
from audiosep_jax.config import ModelConfig
from audiosep_jax.errors import AudioSepError
from audiosep_jax.models import separator

# Constants of the reference's modules, not weights.
CONSTANTS = ("base.stft.", "base.istft.")


@pytest.mark.parametrize("name", list(golden.CONFIGS))
def test_names_are_one_to_one_with_the_reference(name):
    config, theirs = golden.CONFIGS[name], golden.keys()[name]
    weights = {
        key: tuple(shape)
        for key, shape in theirs.items()
        if not key.startswith(CONSTANTS) and not key.endswith("num_batches_tracked")
    }
    names = tensor_names(config)
    assert len({one.pytorch for one in names}) == len({one.path for one in names}) == len(names)
    assert {one.pytorch for one in names} == set(weights)
    shapes = separator.flat_shapes(config)
    assert {one.path for one in names} == set(shapes)
    for one in names:
        assert tuple(weights[one.pytorch][axis] for axis in one.axes) == shapes[one.path], one


def small_state_dict():
    config = ModelConfig(
        window_length=128, hop_length=20, encoder_widths=(2, 3, 4, 5, 6, 7), condition_size=3
    )
    shapes = separator.flat_shapes(config)
    draw = np.random.default_rng(0)
    state_dict = {}
    for one in tensor_names(config):
        shape = np.empty(len(one.axes), int)
        shape[list(one.axes)] = shapes[one.path]
        state_dict[one.pytorch] = draw.standard_normal(shape).astype(np.float32)
    return config, state_dict


def test_every_tensor_arrives_with_its_axes_in_order():
    config, state_dict = small_state_dict()
    variables = from_pytorch(config, state_dict)
    resunet = variables["params"]["resunet"]
    conv = state_dict["base.encoder_block2.conv_block1.conv1.weight"]  # [out, in, height, width]
    kernel = resunet["encoder2"]["conv1"]["kernel"]
    assert kernel.shape == (3, 3, 2, 3)
    assert kernel[0, 2, 1, 0] == conv[0, 1, 0, 2]
    up = state_dict["base.decoder_block1.conv1.weight"]  # [in, out, height, width]
    kernel = resunet["decoder1"]["up"]["kernel"]
    assert kernel[0, 1, 3, 4] == up[3, 4, 0, 1]
    film = state_dict["film.decoder_block3->conv_block2->beta2.weight"]  # [out, in]
    kernel = resunet["decoder3"]["block"]["norm2"]["film"]["shift"]["kernel"]
    assert kernel[2, 1] == film[1, 2]
    mean = state_dict["base.bn0.running_mean"]
    np.testing.assert_array_equal(variables["batch_stats"]["resunet"]["bn0"]["mean"], mean)


def test_all_missing_and_mis_shaped_tensors_are_named_at_once():
    config, state_dict = small_state_dict()
    del state_dict["base.bn0.weight"], state_dict["base.after_conv.bias"]
    state_dict["base.pre_conv.bias"] = np.zeros(9, np.float32)
    with pytest.raises(AudioSepError) as error:
        from_pytorch(config, state_dict)
    for part in (
        "base.bn0.weight is missing",
        "base.after_conv.bias is missing",
        "base.pre_conv.bias has shape (9,), needed is (2,)",
    ):
        assert part in str(error.value)


@pytest.mark.parametrize(
    "change",
    [
        {"film": "scale_shift"},
        {"bottleneck_blocks": 4},
        {"encoder_widths": (32, 64)},
        {"magnitude_power": 0.5},
        {"patch_bins": 4},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_model_that_the_reference_does_not_know_is_refused(change):
    with pytest.raises(
        AudioSepError,
        match=r"the PyTorch reference (has six encoder blocks|takes the magnit|takes every frequ)",
    ):
        tensor_names(dataclasses.replace(ModelConfig(), **change))
