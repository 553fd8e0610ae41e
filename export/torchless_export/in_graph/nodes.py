"""ONNX nodes, written as calls: `op.Add(a, np.float32(1))` appends a node and gives the name of its output."""

from itertools import count
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray


class Nodes:
    """Nodes in order, and the constants that they take. All names begin with `prefix`, but those that are given."""

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
        return onnx.helper.make_graph(self.nodes, self._prefix, [], [onnx.helper.make_tensor_value_info(output, element_type, shape)])

    def __getattr__(self, operator: str) -> Any:
        if operator.startswith("_"):
            raise AttributeError(operator)

        def add(*inputs: "str | NDArray[Any] | np.generic", outputs: int = 1, gives: tuple[str, ...] = (), **attributes: Any) -> Any:
            """Inputs are names or constants. Gives the output's name, a list of them for several; `gives` says which they shall have."""
            name = f"{self._prefix}{operator}_{next(self._numbers)}"
            named = list(gives) or [name] * (outputs == 1) or [f"{name}_{i}" for i in range(outputs)]
            taken = [each if isinstance(each, str) else self._constant(np.asarray(each)) for each in inputs]
            self.nodes.append(onnx.helper.make_node(operator, taken, named, name=name, **attributes))
            return named[0] if len(named) == 1 else named

        return add

    def _constant(self, value: NDArray[Any]) -> str:
        key = value.dtype.str, value.shape, tuple(value.flat)
        if key not in self._constants:
            self._constants[key] = onnx.numpy_helper.from_array(value, f"{self._prefix}constant_{len(self._constants)}")
        return self._constants[key].name
