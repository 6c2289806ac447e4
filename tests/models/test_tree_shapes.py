"""The written shapes are those of the traced modules."""

import jax
import pytest

from audiosep_jax.config import ModelConfig
from audiosep_jax.models import separator

SMALL = {"window_length": 64, "hop_length": 20, "condition_size": 5}


@pytest.mark.parametrize(
    "shape",
    [
        {"encoder_widths": (3, 4)},
        {"encoder_widths": (3, 3, 5), "bottleneck_blocks": 2, "film": "scale_shift", "unused_tensors": False},
    ],
    ids=["shift", "scale_shift"],
)
def test_the_written_shapes_are_those_of_the_model(shape):
    config = ModelConfig(**SMALL, **shape)
    leaves, _ = jax.tree_util.tree_flatten_with_path(separator.shapes(config))
    traced = [(tuple(part.key for part in path), leaf.shape) for path, leaf in leaves]
    assert list(separator.flat_shapes(config).items()) == traced
