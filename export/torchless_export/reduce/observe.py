"""What the float32 network computes for the images that calibrate: how large each channel becomes, how the values of
each tensor are distributed, and how the inputs of each layer go together.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray

from torchless_export.gate.node_values import NodeValues, node_values
from torchless_export.reduce.images import Batch
from torchless_export.reduce.layers import Floats, Layer, layers_of
from torchless_export.reduce.ranges import BINS, best_range
from torchless_export.reduce.rounding import Moments

_POSITIONS, _VALUES = 128, 20_000  # of an image: those for a layer's moments, and those for a tensor's histogram


@dataclass
class Extremes:
    """The least and the largest value of each channel, by tensor: (channels,). Tensors without channels have one."""

    low: dict[str, Floats] = field(default_factory=dict)
    high: dict[str, Floats] = field(default_factory=dict)

    def add(self, name: str, value: Floats) -> None:
        """A tensor of one image."""
        axes = tuple(axis for axis in range(value.ndim) if axis != 1) if value.ndim in (2, 4) else None
        low, high = np.atleast_1d(value.min(axis=axes)), np.atleast_1d(value.max(axis=axes))
        self.low[name] = np.minimum(self.low.get(name, low), low)
        self.high[name] = np.maximum(self.high.get(name, high), high)

    def peaks(self) -> dict[str, Floats]:
        """The largest magnitude of each channel."""
        return {name: np.maximum(np.abs(self.low[name]), np.abs(high)) for name, high in self.high.items()}


@dataclass
class Seen:
    """Of each tensor a range, of each layer the moments of its inputs, by the name of its weights."""

    ranges: dict[str, tuple[np.float32, np.float32]]
    moments: dict[str, Moments]


def extremes(model: onnx.ModelProto, batches: Iterable[Batch], input_name: str) -> Extremes:
    """One pass over the images."""
    found, values = Extremes(), node_values(model, input_name)
    for batch in batches:
        for name, value in _all(values, batch, input_name).items():
            found.add(name, value)
    return found


def observe(model: onnx.ModelProto, batches: Iterable[Batch], input_name: str, of: Extremes) -> Seen:
    """Another, with the extremes of that very model."""
    layers = list(layers_of(model))
    ends = {name: (float(of.low[name].min()), float(of.high[name].max())) for name in of.low}
    counts = {name: np.zeros(BINS, np.int64) for name in ends}
    moments = {layer.weight: _moments(layer) for layer in layers}
    values, chance = node_values(model, input_name), np.random.default_rng(0)
    for batch in batches:
        found = _all(values, batch, input_name)
        for name, value in found.items():
            counts[name] += _histogram(value, *ends[name])
        for layer in layers:
            if layer.node.input[0] in found:
                moments[layer.weight].add(layer.columns(found[layer.node.input[0]], _POSITIONS, chance))
    return Seen({name: best_range(*ends[name], counts[name]) for name in ends}, moments)


def _all(values: NodeValues, batch: Batch, input_name: str) -> dict[str, Floats]:
    return {input_name: batch, **{name: value for name, value in values(batch).items() if value.size}}


def _moments(layer: Layer) -> Moments:
    matrix = layer.matrix(np.zeros(layer.shape, np.float32))
    return Moments.empty(matrix.shape[0], matrix.shape[2])


def _histogram(value: Floats, low: float, high: float) -> NDArray[np.int64]:
    sample = value.reshape(-1)[:: max(1, value.size // _VALUES)]
    sample = sample[sample != 0]
    return np.histogram(sample, bins=BINS, range=(low, max(high, low + 1e-12)))[0]
