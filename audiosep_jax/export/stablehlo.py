"""StableHLO through `jax.export`: one file per function, for CPU, CUDA and TPU, with a symbolic batch."""

import functools

import jax
import jax.export
import jax.numpy as jnp

from audiosep_jax.config import ModelConfig
from audiosep_jax.export.functions import Function
from audiosep_jax.models.inference import folded

PLATFORMS = ("cpu", "cuda", "tpu")


def serialize(config: ModelConfig, params: folded.FoldedParams, function: Function) -> bytes:
    """Returns a function as `jax.export` serialises it, with the parameters from `folded.fold` embedded."""
    (batch,) = jax.export.symbolic_shape("batch")
    inputs = [jax.ShapeDtypeStruct((batch, *one.shape), jnp.float32) for one in function.inputs]
    call = {"whole": folded.apply, "core": folded.core}[function.name]
    exporter = jax.export.export(jax.jit(functools.partial(call, config, params)), platforms=PLATFORMS)
    return bytes(exporter(*inputs).serialize())
