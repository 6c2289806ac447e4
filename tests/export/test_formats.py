"""StableHLO and ONNX compute what the live model computes, for several models; how the files are built."""

import functools
import re

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest
from drawn_models import drawn, noise
from export_models import MODELS

from audiosep_jax.config import ModelConfig
from audiosep_jax.export import onnx as onnx_export
from audiosep_jax.export import stablehlo
from audiosep_jax.export.functions import function
from audiosep_jax.models import masking, separator
from audiosep_jax.models.inference import folded
from experiments import base

# Compiles in half the time: the code is not optimized, the operations are the same.
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def run_onnx(data, *arrays):
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]
    return np.asarray(session.run(None, dict(zip(names, arrays, strict=True)))[0])


def close(result, expected, limit):
    assert result.shape == expected.shape
    np.testing.assert_allclose(result, expected, atol=limit, rtol=0)


# Shorter than half a window, which is padded; an odd number of frames; a whole number of pooling steps.
@pytest.mark.parametrize(("name", "samples"), [("scale_shift", 777), ("deep", 480), ("wide_hop", 50)])
def test_both_formats_are_the_live_model(name, samples):
    config = ModelConfig(**MODELS[name])
    variables = drawn(config)
    params = folded.fold(config, variables)
    mixture, condition = noise(3, samples), noise(3, config.condition_size, seed=1)

    @quick_jit
    def live(variables, mixture, condition):
        magnitude = masking.spectrum(config, mixture)[2]
        return separator.apply(config, variables, mixture, condition), magnitude

    estimate, magnitude = map(np.asarray, live(variables, mixture, condition))
    assert np.abs(estimate).max() > 0.05
    whole, core = (function(config, kind, samples=samples) for kind in ("whole", "core"))

    data = onnx_export.serialize(config, params, whole)
    close(run_onnx(data, mixture, condition), estimate, 1e-4)
    close(run_onnx(data, mixture[1:2], condition[1:2]), estimate[1:2], 1e-4)
    data = onnx_export.serialize(config, params, core)
    found = run_onnx(data, magnitude, condition)
    close(apply_mask(config, mixture, found), estimate, 1e-4)
    assert np.abs(run_onnx(data, magnitude, condition[::-1]) - found).max() > 1e-3

    exported = jax.export.deserialize(bytearray(stablehlo.serialize(config, params, whole)))
    assert exported.platforms == ("cpu", "cuda", "tpu")
    close(np.asarray(quick_jit(exported.call)(mixture, condition)), estimate, 1e-5)


def apply_mask(config, mixture, mask):
    parts = tuple(jnp.asarray(mask[..., index]) for index in range(3))
    masked = quick_jit(lambda mixture, parts: masking.separate(config, mixture, lambda _: parts))
    return np.asarray(masked(mixture, parts))


@pytest.mark.parametrize("name", ["whole", "core"])
def test_one_stablehlo_serves_every_batch_and_platform(name):
    config = ModelConfig(**MODELS["deep"])
    params = folded.fold(config, drawn(config))
    exported = jax.export.deserialize(
        bytearray(stablehlo.serialize(config, params, function(config, name, samples=480)))
    )
    text = exported.mlir_module()
    # The runtime checks the batch with it; it is gone once the batch is known.
    assert set(re.findall(r"custom_call @(\w+)", text)) <= {"shape_assertion"}
    # Symbolic shapes turn careless slices into gathers, which accelerators and XLA's fusion dislike.
    assert "gather" not in text
    assert ("stablehlo.fft" in text) == (name == "whole")
    assert str(exported.in_avals[0].shape[0]) == "batch"
    shapes = [(batch, *one.shape[1:]) for batch in (1, 4) for one in exported.in_avals]
    for one, two in (shapes[:2], shapes[2:]):
        inputs = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in (one, two)]
        for platform in ("cpu", "cuda", "tpu"):
            traced = jax.jit(exported.call).trace(*inputs)
            lowered = traced.lower(lowering_platforms=(platform,))
            assert lowered.out_info.shape[0] == one[0]
    with pytest.raises(ValueError, match="batch"):
        jax.eval_shape(exported.call, *(jax.ShapeDtypeStruct(s, jnp.float32) for s in (shapes[0], shapes[3])))


@pytest.mark.parametrize("name", ["whole", "core"])
def test_onnx_is_standard_and_its_batch_is_symbolic(name):
    config = ModelConfig(**MODELS["scale_shift"])
    params = folded.fold(config, drawn(config))
    signature = function(config, name, samples=300)
    model = onnx.load_from_string(onnx_export.serialize(config, params, signature))
    onnx.checker.check_model(model, full_check=True)
    assert [(one.domain, one.version) for one in model.opset_import] == [("", 13)]
    assert {node.domain for node in model.graph.node} == {""}
    assert not model.functions
    kinds = {node.op_type for node in model.graph.node}
    assert not kinds & {"BatchNormalization", "DFT", "STFT", "Einsum", "Loop", "If"}
    assert sum(node.op_type == "Gemm" for node in model.graph.node) == 1
    for value, tensor in zip(
        (*model.graph.input, *model.graph.output), (*signature.inputs, signature.output), strict=True
    ):
        dims = value.type.tensor_type.shape.dim
        assert value.name == tensor.name
        assert dims[0].dim_param == "batch"
        assert tuple(one.dim_value for one in dims[1:]) == tensor.shape
    # Shapes are known everywhere, but for the batch.
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    assert len(inferred.graph.value_info) >= len(model.graph.node) - 1


def test_fixed_shapes_are_those_of_the_window():
    config = base.CONFIG.model
    whole, core = (function(config, name, samples=160_000) for name in ("whole", "core"))
    assert [one.shape for one in (*whole.inputs, whole.output)] == [(160_000,), (512,), (160_000,)]
    assert [one.shape for one in (*core.inputs, core.output)] == [(501, 1025), (512,), (501, 1025, 3)]


@pytest.mark.slow
def test_the_released_widths_in_both_formats():
    config = base.CONFIG.model
    variables = separator.init(config, jax.random.key(0))
    params = folded.fold(config, variables)
    samples = 32_000
    mixture, condition = noise(1, samples), noise(1, 512, seed=1) / 20
    expected = np.asarray(jax.jit(functools.partial(separator.apply, config))(variables, mixture, condition))
    whole = function(config, "whole", samples=samples)
    data = stablehlo.serialize(config, params, whole)
    assert 100e6 < len(data) < 115e6
    result = jax.jit(jax.export.deserialize(bytearray(data)).call)(mixture, condition)
    close(np.asarray(result), expected, 1e-5)
    data = onnx_export.serialize(config, params, whole)
    assert len(data) < 150e6
    close(run_onnx(data, mixture, condition), expected, 1e-4)
