"""The layers of a float32 graph as matrices: what rounding and equalising work on."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

LAYERS = ("Conv", "Gemm", "MatMul")

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Layer:
    """A convolution or a product with constant weights that no other node uses.

    Its weights as a matrix are (groups, outputs of a group, inputs of a group × kernel).
    """

    node: onnx.NodeProto
    shape: tuple[int, ...]

    @property
    def weight(self) -> str:
        """The initializer of the weights."""
        return str(self.node.input[1])

    @property
    def bias(self) -> str | None:
        """The initializer of the bias."""
        return str(self.node.input[2]) if len(self.node.input) > 2 and self.node.input[2] else None

    @property
    def groups(self) -> int:
        """1 but for grouped convolutions; as many as channels in a depthwise one."""
        return int(attributes(self.node).get("group", 1))

    @property
    def _is_transposed(self) -> bool:
        return self.node.op_type == "MatMul" or (
            self.node.op_type == "Gemm" and not attributes(self.node).get("transB")
        )

    @property
    def channels(self) -> int:
        """How many channels its input has."""
        if self.node.op_type == "Conv":
            return self.shape[1] * self.groups
        return self.shape[0] if self._is_transposed else self.shape[1]

    def matrix(self, weights: Floats) -> Floats:
        """(groups, outputs, inputs × kernel)."""
        if self._is_transposed:
            return weights.T[None]
        return weights.reshape(self.groups, self.shape[0] // self.groups, -1)

    def weights(self, matrix: Floats) -> Floats:
        """The inverse of `matrix`."""
        return np.ascontiguousarray(matrix[0].T if self._is_transposed else matrix.reshape(self.shape))

    def columns(self, value: Floats, most: int, chance: np.random.Generator) -> Floats:
        """What the weights are multiplied with: (groups, inputs × kernel, at most `most` positions, by chance)."""
        if self.node.op_type != "Conv":
            rows = value.reshape(-1, value.shape[-1])
            return rows[chance.permutation(len(rows))[:most]].T[None]
        given = attributes(self.node)
        pads, strides = given.get("pads", [0] * 4), given.get("strides", [1, 1])
        padded = np.pad(value[0], ((0, 0), (pads[0], pads[2]), (pads[1], pads[3])))
        offsets = [
            np.arange(kernel) * step
            for kernel, step in zip(self.shape[2:], given.get("dilations", [1, 1]), strict=True)
        ]
        sides = [
            (side - reach[-1] - 1) // stride + 1
            for side, reach, stride in zip(padded.shape[1:], offsets, strides, strict=True)
        ]
        down, across = np.divmod(chance.permutation(sides[0] * sides[1])[:most], sides[1])
        down, across = down[:, None] * strides[0] + offsets[0], across[:, None] * strides[1] + offsets[1]
        found = padded[:, down[:, :, None], across[:, None, :]]  # (channels, positions, kernel, kernel)
        return found.transpose(0, 2, 3, 1).reshape(self.groups, -1, len(down))


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """Its attributes by name."""
    return {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}


def constants(model: onnx.ModelProto) -> dict[str, Floats]:
    """The initializers by name."""
    return {weight.name: onnx.numpy_helper.to_array(weight) for weight in model.graph.initializer}


def replace_constants(model: onnx.ModelProto, values: dict[str, Floats]) -> None:
    """Puts other values in place of those initializers, in `model` itself."""
    for weight in model.graph.initializer:
        if weight.name in values:
            weight.CopyFrom(onnx.numpy_helper.from_array(values[weight.name].astype(np.float32), weight.name))


def layers_of(model: onnx.ModelProto) -> Iterator[Layer]:
    """All but those that share their weights or bias, and rare forms."""
    uses = Counter(name for node in model.graph.node for name in node.input)
    shapes = {weight.name: tuple(weight.dims) for weight in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type in LAYERS and node.input[1] in shapes:
            layer = Layer(node, shapes[node.input[1]])
            parts = [name for name in (layer.weight, layer.bias) if name is not None]
            if _is_plain(layer) and all(uses[name] == 1 and name in shapes for name in parts):
                yield layer


def _is_plain(layer: Layer) -> bool:
    given = attributes(layer.node)
    if layer.node.op_type == "Conv":
        return len(layer.shape) == 4 and given.get("auto_pad", b"NOTSET") == b"NOTSET"
    plain = not given.get("transA") and given.get("alpha", 1.0) == given.get("beta", 1.0) == 1.0
    return len(layer.shape) == 2 and plain
