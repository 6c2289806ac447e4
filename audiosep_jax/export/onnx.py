"""ONNX: one file per function, standard operators only, with a symbolic batch."""

import importlib.util
from typing import TYPE_CHECKING

from audiosep_jax.config import ModelConfig
from audiosep_jax.errors import MissingPackageError
from audiosep_jax.export.functions import Function, frames
from audiosep_jax.models.inference.folded import FoldedParams

if TYPE_CHECKING:
    from audiosep_jax.export.onnx_graph import Graph


def check_installed() -> None:
    """Raises a `MissingPackageError` if onnx is not installed."""
    if importlib.util.find_spec("onnx") is None:
        raise MissingPackageError(
            "The package onnx, which writes ONNX files, is not installed: pip install 'audiosep_jax[onnx]'."
        )


def serialize(config: ModelConfig, params: FoldedParams, function: Function) -> bytes:
    """Returns a function as an ONNX model, with the parameters from `folded.fold` embedded.

    The model has passed the full check of `onnx.checker`.

    Raises:
      MissingPackageError: onnx is not installed.
    """
    check_installed()
    from audiosep_jax.export import onnx_stft
    from audiosep_jax.export.onnx_graph import Graph
    from audiosep_jax.export.onnx_network import Network

    graph = Graph()
    network = Network(graph, config, params)
    signal, condition = (one.name for one in function.inputs)
    samples = function.inputs[0].shape[0]
    if function.name == "whole":
        real, imag = onnx_stft.forward(graph, config, signal, samples=samples)
        magnitude = network.length(real, imag)
        parts = network.mask(magnitude, condition, frames=frames(config, samples))
        mask, cosine, sine = (graph.add("Squeeze", one, graph.constant([1], "")) for one in parts)
        real, imag = _rotated(graph, real, imag, cosine, sine)
        scaled = [graph.add("Mul", one, mask) for one in (real, imag)]
        result = onnx_stft.inverse(graph, config, *scaled, samples=samples)
    else:
        parts = network.mask(signal, condition, frames=function.inputs[0].shape[0])
        stacked = graph.add("Concat", *parts, axis=1)
        result = graph.add("Transpose", stacked, perm=(0, 2, 3, 1))
    return graph.model(
        function.name,
        inputs={one.name: one.shape for one in function.inputs},
        result=result,
        output=(function.output.name, function.output.shape),
    ).SerializeToString()


def _rotated(graph: "Graph", real: str, imag: str, cosine: str, sine: str) -> tuple[str, str]:
    products = {
        (i, j): graph.add("Mul", first, second)
        for i, first in (("real", real), ("imag", imag))
        for j, second in (("cosine", cosine), ("sine", sine))
    }
    return (
        graph.add("Sub", products["real", "cosine"], products["imag", "sine"]),
        graph.add("Add", products["imag", "cosine"], products["real", "sine"]),
    )
