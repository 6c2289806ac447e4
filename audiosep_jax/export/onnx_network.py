"""The folded ResUNet as ONNX nodes, in ONNX's own layout: `[batch, channels, frames, bins]`."""

from typing import Any

import numpy as np

from audiosep_jax.config import ModelConfig
from audiosep_jax.export.onnx_graph import Graph
from audiosep_jax.models.inference.folded import FoldedParams
from audiosep_jax.models.masking import SMALLEST_POWER
from audiosep_jax.models.normalization import NEGATIVE_SLOPE
from audiosep_jax.models.resunet import pooling_strides


class Network:
    """Writes the network of one model; `models/inference/folded.py` is the same network in JAX."""

    def __init__(self, graph: Graph, config: ModelConfig, params: FoldedParams) -> None:
        self._graph, self._config, self._params = graph, config, params
        self._film: list[str] = []

    def mask(self, magnitude: str, condition: str, *, frames: int) -> tuple[str, str, str]:
        """Returns the mask, cosine and sine, `[batch, 1, frames, bins]` each.

        The magnitude is `[batch, frames, bins]`, the condition `[batch, size]`.
        """
        graph, config, params = self._graph, self._config, self._params
        bins = config.window_length // 2
        self._film = self._projections(condition)
        if config.magnitude_power != 1:
            magnitude = graph.add("Pow", magnitude, graph.constant(np.array(config.magnitude_power), "power"))
        hidden = graph.add("Mul", magnitude, graph.constant(params["bn0"]["scale"], "bn0.scale"))
        hidden = graph.add("Add", hidden, graph.constant(params["bn0"]["shift"], "bn0.shift"))
        hidden = graph.slice(hidden, 0, bins, axis=2)
        hidden = graph.pad(hidden, (0, 0, 0), (0, -frames % config.time_multiple, 0))
        hidden = self._pointwise(self._patches(hidden), "pre_conv", params["pre_conv"])
        strides, skips = pooling_strides(config), []
        for index, stride in enumerate(strides, start=1):
            hidden = self._residual(hidden, f"encoder{index}", params[f"encoder{index}"])
            skips.append(hidden)
            hidden = graph.add("AveragePool", hidden, kernel_shape=stride, strides=stride)
        for index in range(1, config.bottleneck_blocks + 1):
            hidden = self._residual(hidden, f"bottleneck{index}", params[f"bottleneck{index}"])
        for index, stride in enumerate(reversed(strides), start=1):
            hidden = self._decoder(hidden, skips.pop(), f"decoder{index}", params[f"decoder{index}"], stride)
        graph.scope = ""
        logits = self._pointwise(hidden, "after_conv", params["after_conv"])
        logits = self._bins(graph.slice(logits, 0, frames, axis=2))
        logits = graph.pad(logits, (0, 0, 0, 0), (0, 0, 0, 1))
        mask, real, imag = (graph.slice(logits, index, index + 1, axis=1) for index in range(3))
        mask, real, imag = graph.add("Sigmoid", mask), graph.add("Tanh", real), graph.add("Tanh", imag)
        length = self.length(real, imag)
        return mask, graph.add("Div", real, length), graph.add("Div", imag, length)

    def _patches(self, hidden: str) -> str:
        """Turns `[batch, frames, bins]` into `[batch, patch, frames, positions]`."""
        graph, config = self._graph, self._config
        if config.patch_bins == 1:
            return graph.unsqueeze(hidden, 1)
        hidden = graph.reshape(hidden, (0, 0, config.positions, config.patch_bins))
        return graph.add("Transpose", hidden, perm=(0, 3, 1, 2))

    def _bins(self, logits: str) -> str:
        """Turns `[batch, patch · 3, frames, positions]` into `[batch, 3, frames, bins]`."""
        graph, config = self._graph, self._config
        if config.patch_bins == 1:
            return logits
        logits = graph.add("Transpose", logits, perm=(0, 2, 3, 1))
        logits = graph.reshape(logits, (0, 0, config.window_length // 2, 3))
        return graph.add("Transpose", logits, perm=(0, 3, 1, 2))

    def length(self, real: str, imag: str) -> str:
        """Returns `sqrt(max(real² + imag², 1e-10))`."""
        graph = self._graph
        power = graph.add("Add", graph.add("Mul", real, real), graph.add("Mul", imag, imag))
        return graph.add(
            "Sqrt", graph.add("Max", power, graph.constant(np.array(SMALLEST_POWER), "smallest_power"))
        )

    def _projections(self, condition: str) -> list[str]:
        """Returns FiLM's shifts and scales of every norm, `[batch, channels, 1, 1]`, the last norm first."""
        graph, film = self._graph, self._params["film"]
        weights = graph.constant(film["kernel"], "film.kernel"), graph.constant(film["bias"], "film.bias")
        projected = graph.unsqueeze(graph.add("Gemm", condition, *weights), 2, 3)
        widths = [width for width in self._widths() for _ in range(1 + (self._config.film == "scale_shift"))]
        return graph.add_many("Split", projected, graph.constant(widths, ""), outputs=len(widths), axis=1)[
            ::-1
        ]

    def _widths(self) -> list[int]:
        """Returns the number of channels of every norm, in the order of the network."""
        config, found = self._config, []
        inputs = config.encoder_widths[0]
        for width in (*config.encoder_widths, *(config.encoder_widths[-1:] * config.bottleneck_blocks)):
            found += [inputs, width]
            inputs = width
        for width in reversed(config.encoder_widths):
            found += [inputs, 2 * width, width]
            inputs = width
        return found

    def _activated(self, value: str, scale: np.ndarray | None) -> str:
        """Applies a norm with its FiLM, and the leaky ReLU; `scale` is None if it is folded into a kernel."""
        graph = self._graph
        if self._config.film == "scale_shift":
            value = graph.add("Mul", value, self._film.pop())
        elif scale is not None:
            value = graph.add("Mul", value, graph.constant(scale.reshape(1, -1, 1, 1), "scale"))
        return graph.add("LeakyRelu", graph.add("Add", value, self._film.pop()), alpha=NEGATIVE_SLOPE)

    def _residual(self, value: str, scope: str, params: dict[str, Any]) -> str:
        graph, shortcut = self._graph, value
        graph.scope = scope
        hidden = self._activated(value, params.get("scale"))
        hidden = self._convolution(hidden, "conv1", params["conv1"])
        hidden = self._convolution(self._activated(hidden, None), "conv2", params["conv2"])
        if "shortcut" in params:
            shortcut = self._pointwise(value, "shortcut", params["shortcut"])
        return graph.add("Add", shortcut, hidden)

    def _decoder(
        self, value: str, skip: str, scope: str, params: dict[str, Any], stride: tuple[int, int]
    ) -> str:
        graph = self._graph
        graph.scope = scope
        hidden = self._activated(value, params.get("scale"))
        kernel = graph.constant(params["up"].transpose(2, 3, 0, 1), "up")
        hidden = graph.add("ConvTranspose", hidden, kernel, kernel_shape=stride, strides=stride)
        hidden = graph.add("Concat", hidden, skip, axis=1)
        return self._residual(hidden, f"{scope}/block", params["block"])

    def _convolution(self, value: str, name: str, kernel: np.ndarray) -> str:
        weights = self._graph.constant(kernel.transpose(3, 2, 0, 1), name)
        return self._graph.add("Conv", value, weights, kernel_shape=(3, 3), pads=(1, 1, 1, 1))

    def _pointwise(self, value: str, name: str, params: dict[str, np.ndarray]) -> str:
        kernel = self._graph.constant(params["kernel"].transpose(3, 2, 0, 1), f"{name}.kernel")
        bias = self._graph.constant(params["bias"], f"{name}.bias")
        return self._graph.add("Conv", value, kernel, bias, kernel_shape=(1, 1))
