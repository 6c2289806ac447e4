"""The whole separator against the records of the PyTorch reference, three configs of one model."""

import golden
import jax
import numpy as np
import pytest

from audiosep_jax.models.separator import Separator

# Our modules, and what the reference calls them.
ACTIVATIONS = {
    "pre_conv": "pre_conv",
    "encoder1": "encoder_block1.conv_block1",
    "encoder3": "encoder_block3.conv_block1",
    "encoder6": "encoder_block6.conv_block1",
    "bottleneck1": "conv_block7a.conv_block1",
    "decoder1": "decoder_block1",
    "decoder4": "decoder_block4",
    "decoder6": "decoder_block6",
    "after_conv": "after_conv",
}


@pytest.fixture(scope="module", params=list(golden.CONFIGS))
def run(request):
    """Name, estimate and activations of one config, computed once for the tests below."""
    model = Separator(golden.CONFIGS[request.param])

    def recorded(module, method):
        return module.name in ACTIVATIONS

    @jax.jit
    def separate(variables, mixture, condition):
        return model.apply(variables, mixture, condition, train=False, capture_intermediates=recorded)

    variables = golden.variables(request.param)
    estimate, captured = separate(variables, golden.mixtures(), golden.conditions())
    return request.param, estimate, captured["intermediates"]["resunet"]


def test_the_estimate_equals_the_reference(run):
    name, estimate, _ = run
    expected = golden.record()[f"{name}/waveform_out"]
    assert estimate.shape == expected.shape
    np.testing.assert_allclose(estimate, expected, rtol=0, atol=1e-4)


def test_every_recorded_activation_equals_the_reference(run):
    name, _, captured = run
    record = golden.record()
    recorded = {key.split("/")[2] for key in record if key.startswith(f"{name}/act/")}
    assert recorded == set(ACTIVATIONS.values())
    for ours, theirs in ACTIVATIONS.items():
        activation = np.asarray(captured[ours]["__call__"][0]).transpose(0, 3, 1, 2)  # NCHW, as recorded
        place = f"{name}/act/{theirs}"
        assert activation.shape == tuple(record[f"{place}/shape_nchw"]), theirs
        sample = activation.reshape(-1)[:: int(record[f"{place}/stride"])][:512]
        error = np.abs(sample - record[f"{place}/values"]).max() / activation.std()
        assert error < 1e-3, f"{theirs} differs by {error:.1e} of its deviation"
