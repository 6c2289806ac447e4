"""One mask for all channels: the image stays, the model runs once."""

import numpy as np
import pytest
from separation_models import CONDITION_SIZE, RATE, scene

CONDITION = np.linspace(-1, 1, CONDITION_SIZE)


def test_levels_and_phases_between_channels_stay(model):
    left = scene(1.3)[0].astype(np.float32)
    stereo = np.stack([left, -0.25 * left])
    shared = model.separate(stereo, RATE, condition=CONDITION, channel_mask="shared").estimate
    each = model.separate(stereo, RATE, condition=CONDITION, channel_mask="each").estimate
    np.testing.assert_allclose(shared[1], -0.25 * shared[0], atol=1e-6)
    assert np.abs(each[1] + 0.25 * each[0]).max() > 1e-3, "the scene must be one in which it matters"
    assert np.abs(shared).max() > 0.01


@pytest.mark.parametrize("channels", [1, 3])
def test_equal_channels_get_the_mask_of_one(model, channels):
    mono = scene(1.3)[0].astype(np.float32)
    alone = model.separate(mono, RATE, condition=CONDITION).estimate
    many = model.separate(
        np.tile(mono, (channels, 1)), RATE, condition=CONDITION, channel_mask="shared"
    ).estimate
    np.testing.assert_allclose(many, np.tile(alone, (channels, 1)), atol=2e-6)


def test_channels_that_cancel_in_a_downmix_are_heard(model):
    left = scene(1.3)[0].astype(np.float32)
    shared = model.separate(np.stack([left, -left]), RATE, condition=CONDITION, channel_mask="shared")
    alone = model.separate(left, RATE, condition=CONDITION).estimate
    np.testing.assert_allclose(shared.estimate, [alone, -alone], atol=2e-6)


def test_sums_stay_exact_and_the_model_hears_one_signal(model, monkeypatch):
    stereo = (np.rint(scene(1.3, channels=2) * 2**15) / 2**15).astype(np.float32)
    shapes = []
    original = model._estimator._mask

    def counted(params, heard, columns):
        shapes.append(heard.shape[0])
        return original(params, heard, columns)

    monkeypatch.setattr(model._estimator, "_mask", counted)
    result = model.separate(stereo, RATE, condition=CONDITION, channel_mask="shared")
    np.testing.assert_array_equal(result.estimate + result.residual, stereo)
    assert shapes == [1]
