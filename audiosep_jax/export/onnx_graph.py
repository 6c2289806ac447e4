"""A graph of standard ONNX operators, built node by node; its names are meant for viewers."""

import importlib.metadata
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# All operators of these models have had their present meaning since opset 13 (ONNX 1.8, 2020). A higher opset
# would exclude older runtimes without need.
OPSET, IR_VERSION = 13, 7


class Graph:
    """Collects nodes and constants; a method that adds a node returns the name of its output."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._names: dict[str, int] = {}
        self.scope = ""

    def constant(self, values: np.ndarray | Sequence[int], hint: str) -> str:
        """Adds a float32 array, or a list of integers as int64; equal lists share one constant."""
        if isinstance(values, np.ndarray):
            name, array = self._unique(hint), np.ascontiguousarray(values, np.float32)
        else:
            array = np.array(values, np.int64)
            name = "integers_" + "_".join(map(str, values)).replace("-", "minus")
        self._constants.setdefault(name, numpy_helper.from_array(array, name))
        return name

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Adds a node with one output."""
        return self.add_many(operator, *inputs, outputs=1, **attributes)[0]

    def add_many(self, operator: str, *inputs: str, outputs: int, **attributes: Any) -> list[str]:
        """Adds a node with several outputs."""
        name = self._unique(operator)
        results = [name if outputs == 1 else f"{name}_{index}" for index in range(outputs)]
        self._nodes.append(helper.make_node(operator, list(inputs), results, name=name, **attributes))
        return results

    def slice(self, value: str, start: int, stop: int, *, axis: int) -> str:
        """Takes a range of one axis."""
        bounds = [self.constant([number], "") for number in (start, stop, axis)]
        return self.add("Slice", value, *bounds)

    def pad(self, value: str, before: Sequence[int], after: Sequence[int], *, mode: str = "constant") -> str:
        """Pads with zeros or by reflection; returns the value itself if the padding is empty."""
        if not any((*before, *after)):
            return value
        return self.add("Pad", value, self.constant([*before, *after], ""), mode=mode)

    def unsqueeze(self, value: str, *axes: int) -> str:
        """Inserts axes of size 1."""
        return self.add("Unsqueeze", value, self.constant(axes, ""))

    def reshape(self, value: str, shape: Sequence[int]) -> str:
        """Changes the shape; a 0 keeps the size of its axis."""
        return self.add("Reshape", value, self.constant(shape, ""))

    def model(
        self,
        name: str,
        *,
        inputs: dict[str, tuple[int, ...]],
        result: str,
        output: tuple[str, tuple[int, ...]],
    ) -> onnx.ModelProto:
        """Returns the checked model; "batch" is symbolic, all tensors are float32.

        `result` is the name of the value to return, `output` its public name. Shapes are those after the
        batch.

        Raises:
          onnx.checker.ValidationError: the graph is not valid ONNX.
        """
        self._nodes.append(helper.make_node("Identity", [result], [output[0]], name=output[0]))
        values = [
            helper.make_tensor_value_info(tensor, TensorProto.FLOAT, ["batch", *shape])
            for tensor, shape in (*inputs.items(), output)
        ]
        graph = helper.make_graph(
            self._nodes, name, values[:-1], values[-1:], initializer=list(self._constants.values())
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            producer_name="audiosep_jax",
            producer_version=importlib.metadata.version("audiosep_jax"),
        )
        model.ir_version = IR_VERSION
        onnx.checker.check_model(model, full_check=True)
        return model

    def _unique(self, hint: str) -> str:
        name = f"{self.scope}/{hint}" if self.scope else hint
        count = self._names[name] = self._names.get(name, -1) + 1
        return f"{name}_{count}" if count else name
