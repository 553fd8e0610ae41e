"""Channels brought to like size, so that one scale fits all channels of a tensor: a channel is divided by a factor in
the layer that makes it, and the layers that take it multiply their weights by it (cross-layer equalisation, Nagel et
al., 2019, arxiv.org/abs/1906.04721). The network computes the same.

It goes through whatever lets a factor pass: additions, concatenations, poolings, Relu. Not through Clip (ReLU6): a
raised channel would be cut off below the clip, at what the calibration images reached, and others go further.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray

from torchless_export.reduce.layers import Floats, Layer, attributes, constants, layers_of, replace_constants

_PASSING = ("Relu", "MaxPool", "AveragePool", "GlobalAveragePool", "Identity", "Dropout", "Flatten")
_SPATIAL = ([2, 3], [-2, -1], [-1, -2])
_LEAST, _SHARED = 1 / 16, 0.5

Ids = NDArray[np.int64]


@dataclass
class _Factors:
    """A factor for each channel that a layer makes. Channels that are added to each other have the same one."""

    parent: list[int] = field(default_factory=list)
    fixed: set[int] = field(default_factory=set)

    def new(self, count: int) -> Ids:
        first = len(self.parent)
        self.parent += range(first, first + count)
        return np.arange(first, first + count)

    def root(self, number: int) -> int:
        while self.parent[number] != number:
            self.parent[number] = self.parent[self.parent[number]]
            number = self.parent[number]
        return number

    def roots(self, ids: Ids) -> list[int]:
        return [self.root(int(number)) for number in ids]

    def join(self, first: Ids, second: Ids) -> None:
        for one, other in zip(self.roots(first), self.roots(second), strict=True):
            self.parent[other] = one
            self.fixed |= {one} if other in self.fixed else set()

    def fix(self, ids: Ids) -> None:
        self.fixed |= set(self.roots(ids))


def equalise(model: onnx.ModelProto, peaks: dict[str, Floats]) -> None:
    """Changes the weights of `model`. `peaks` has the largest magnitude seen in each channel, by tensor."""
    layers = {layer.node.output[0]: layer for layer in layers_of(model)}
    factors, ids = _follow(model, layers)
    values = constants(model)
    found = _choose(factors, ids, peaks, layers)
    for layer in layers.values():
        matrix = layer.matrix(values[layer.weight])
        made, taken = ids.get(layer.node.output[0]), ids.get(layer.node.input[0])
        if taken is not None and len(taken) == layer.channels:
            scale = found[factors.roots(taken)].reshape(layer.groups, 1, -1, 1)
            matrix = (matrix.reshape(*matrix.shape[:2], scale.shape[2], -1) * scale).reshape(matrix.shape)
        if made is not None:
            scale = found[factors.roots(made)]
            matrix = matrix / scale.reshape(layer.groups, -1, 1)
            if layer.bias is not None:
                values[layer.bias] = values[layer.bias] / scale
        values[layer.weight] = layer.weights(matrix)
    parts = {name for layer in layers.values() for name in (layer.weight, layer.bias) if name is not None}
    replace_constants(model, {name: values[name] for name in parts})


def _follow(model: onnx.ModelProto, layers: dict[str, Layer]) -> tuple[_Factors, dict[str, Ids]]:
    """Which factors each tensor's channels have."""
    factors, ids, values = _Factors(), dict[str, Ids](), constants(model)
    for node in model.graph.node:
        layer = layers.get(node.output[0])
        if layer is not None:
            _take(layer, factors, ids)
            continue
        known = [ids[name] for name in node.input if name in ids]
        passed = _passed(node, known, factors, values)
        if passed is not None:
            ids[node.output[0]] = passed
        else:
            for each in known:
                factors.fix(each)
    for output in model.graph.output:
        if output.name in ids:
            factors.fix(ids[output.name])
    return factors, ids


def _take(layer: Layer, factors: _Factors, ids: dict[str, Ids]) -> None:
    """A layer takes the factors of its input, and makes new ones."""
    taken = ids.get(layer.node.input[0])
    if taken is not None and (len(taken) != layer.channels or layer.node.op_type == "MatMul"):
        factors.fix(taken)
    if layer.node.op_type != "MatMul":  # a product of many axes: which one would be the channels?
        outputs = layer.matrix(np.zeros(layer.shape, np.float32)).shape
        ids[layer.node.output[0]] = factors.new(outputs[0] * outputs[1])


def _passed(node: onnx.NodeProto, known: Sequence[Ids], factors: _Factors, values: dict[str, Floats]) -> Ids | None:
    """The factors of the output where the node lets them pass."""
    if len(known) == 1 and _lets_pass(node, values):
        return known[0]
    if node.op_type == "Add" and len(known) == 2 and len(known[0]) == len(known[1]):
        factors.join(*known)
        return known[0]
    if node.op_type == "Concat" and len(known) == len(node.input) and attributes(node)["axis"] == 1:
        return np.concatenate(known)
    return None


def _lets_pass(node: onnx.NodeProto, values: dict[str, Floats]) -> bool:
    if node.op_type == "ReduceMean":
        axes = values[node.input[1]].tolist() if len(node.input) > 1 else attributes(node).get("axes")
        return axes in _SPATIAL
    if node.op_type == "Pad":
        return attributes(node).get("mode", b"constant") == b"constant" and len(node.input) < 3
    return node.op_type in _PASSING


def _choose(factors: _Factors, ids: dict[str, Ids], peaks: dict[str, Floats], layers: dict[str, Layer]) -> Floats:
    """A channel's factor is its share of its tensor's largest one; its root where a layer that mixes channels takes the
    tensor, so that weights do not differ too much; depthwise layers have a scale for each channel's weights.
    """
    share, power = np.zeros(len(factors.parent)), np.ones(len(factors.parent))
    for name, numbers in ids.items():
        if name in peaks and len(peaks[name]) == len(numbers) and peaks[name].max() > 0:
            np.maximum.at(share, factors.roots(numbers), peaks[name] / peaks[name].max())
    for layer in layers.values():
        taken = ids.get(layer.node.input[0])
        if taken is not None and layer.groups < layer.channels:
            power[factors.roots(taken)] = _SHARED
    found = np.clip(share, _LEAST, 1) ** power
    found[list(factors.fixed)] = 1
    return found.astype(np.float32)
