"""ONNX nodes, written as calls: `op.Add(a, np.float32(1))` appends a node and gives the name of its output."""

from collections.abc import Sequence
from itertools import count
from typing import Any, Protocol

import numpy as np
import onnx
from numpy.typing import NDArray

Constant = NDArray[Any] | np.generic


class Operator(Protocol):
    """An operator of ONNX, ready to be called."""

    def __call__(self, *inputs: str | Constant, gives: Sequence[str] = (), **attributes: Any) -> str:
        """Appends a node that takes values, by name, and constants; gives the name of its first output. `gives` names
        the outputs.
        """


class Nodes:
    """Nodes in order, and the constants that they take. All names begin with `prefix`, except those that are given."""

    def __init__(self, prefix: str) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._prefix = prefix
        self._numbers = count()
        self._constants: dict[tuple[Any, ...], onnx.TensorProto] = {}

    @property
    def constants(self) -> list[onnx.TensorProto]:
        return list(self._constants.values())

    def branch(self) -> "Nodes":
        """Nodes for a subgraph, which sees the constants and the values of this graph."""
        branch = Nodes(self._prefix)
        branch._numbers, branch._constants = self._numbers, self._constants
        return branch

    def graph(self, output: str, element_type: int, shape: tuple[int, ...]) -> onnx.GraphProto:
        """The nodes as a subgraph for an attribute."""
        return onnx.helper.make_graph(
            self.nodes, self._prefix, [], [onnx.helper.make_tensor_value_info(output, element_type, shape)]
        )

    def __getattr__(self, operator: str) -> Operator:
        if operator.startswith("_"):
            raise AttributeError(operator)
        return lambda *inputs, gives=(), **attributes: self.several(operator, *inputs, gives=gives, **attributes)[0]

    def several(
        self, operator: str, *inputs: str | Constant, outputs: int = 1, gives: Sequence[str] = (), **attributes: Any
    ) -> list[str]:
        """Appends a node with several outputs, and gives their names: those of `gives`, if there are any."""
        name = f"{self._prefix}{operator}_{next(self._numbers)}"
        named = list(gives) or [name] * (outputs == 1) or [f"{name}_{i}" for i in range(outputs)]
        taken = [each if isinstance(each, str) else self._constant(np.asarray(each)) for each in inputs]
        self.nodes.append(onnx.helper.make_node(operator, taken, named, name=name, **attributes))
        return named

    def _constant(self, value: NDArray[Any]) -> str:
        key = value.dtype.str, value.shape, tuple(value.flat)
        if key not in self._constants:
            self._constants[key] = onnx.numpy_helper.from_array(value, f"{self._prefix}constant_{len(self._constants)}")
        return self._constants[key].name
