import flax.linen as nn
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audiosep_jax.encoders.tensor_mapping import Stored, conv, dense, embedding, norm, parameters, stack
from audiosep_jax.errors import AudioSepError


def drawn(tree, seed=0):
    """The tensors that a tree describes, by name."""
    rng = np.random.default_rng(seed)
    tensors = {}
    for node in tree.values():
        if isinstance(node, Stored):
            for name in (node.name,) if isinstance(node.name, str) else node.name:
                tensors[name] = rng.standard_normal(node.shape).astype(np.float32)
        else:
            tensors |= drawn(node, seed + len(tensors) + 1)
    return tensors


@given(inputs=st.integers(1, 5), outputs=st.integers(1, 5), bias=st.booleans())
@settings(max_examples=15)
def test_kernels_equal_pytorchs_weights(inputs, outputs, bias):
    tree = {"dense": dense("a", inputs, outputs, bias=bias)}
    tensors = drawn(tree)
    params = parameters(tree, tensors, what="test")["dense"]
    x = np.ones((2, inputs), np.float32)
    expected = x @ tensors["a.weight"].T + tensors.get("a.bias", np.zeros(outputs, np.float32))[None]
    got = nn.Dense(outputs, use_bias=bias).apply({"params": params}, x)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)


def test_a_window_that_is_not_square_keeps_its_sides():
    tree = {"conv": conv("a", (2, 3), 4, 5)}
    tensors = drawn(tree)
    params = parameters(tree, tensors, what="test")["conv"]
    x = np.random.default_rng(1).standard_normal((1, 2, 3, 4)).astype(np.float32)
    got = nn.Conv(5, (2, 3), padding="VALID").apply({"params": params}, x)
    expected = np.einsum("nhwi,oihw->no", x, tensors["a.weight"]) + tensors["a.bias"][None]
    np.testing.assert_allclose(np.asarray(got)[:, 0, 0], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("layers", [1, 3])
def test_stacked_modules_keep_their_order_however_deep(layers):
    def layer(i):
        return {"norm": norm(f"{i}.n", 3), "mlp": {"in": dense(f"{i}.a", 3, 2), "out": dense(f"{i}.b", 2, 3)}}

    tree = {"layers": stack([layer(i) for i in range(layers)]), "words": embedding("w", 7, 3)}
    tensors = drawn(tree)
    assert len(tensors) == 6 * layers + 1
    params = parameters(tree, tensors, what="test")
    assert params["layers"]["mlp"]["in"]["kernel"].shape == (layers, 3, 2)
    for i in range(layers):
        np.testing.assert_array_equal(params["layers"]["norm"]["scale"][i], tensors[f"{i}.n.weight"])
        np.testing.assert_array_equal(params["layers"]["mlp"]["in"]["kernel"][i], tensors[f"{i}.a.weight"].T)
        np.testing.assert_array_equal(params["layers"]["mlp"]["out"]["bias"][i], tensors[f"{i}.b.bias"])


def test_unused_tensors_are_ignored_and_all_problems_named():
    tree = {"a": norm("a", 3), "rest": stack([norm(f"b.{i}", 2) for i in range(2)])}
    tensors = drawn(tree) | {"x.index": np.arange(3), "scale": np.ones((), np.float32)}
    parameters(tree, tensors, what="test", unused=("*.index", "scale"))
    del tensors["b.1.bias"]
    tensors["a.bias"] = tensors["a.bias"].astype(np.int32)
    with pytest.raises(AudioSepError, match=r"f\.st does not hold the Tower of its config\.json: ") as caught:
        parameters(tree, tensors, what="Tower", where="f.st", unused=("*.index",))
    said = str(caught.value)
    for part in (
        "missing b.1.bias",
        "mis-shaped a.bias (int32 (3,), float (3,) is needed)",
        "unmapped scale",
    ):
        assert part in said
    assert "x.index" not in said
