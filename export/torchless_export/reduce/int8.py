"""A float32 graph → int8 by static post-training quantisation: onnxruntime.quantization, with scales from ranges that
were seen on images, and biases that make up for the mean error.

The result is in QDQ form: QuantizeLinear and DequantizeLinear around each layer, which ONNX Runtime fuses into integer
kernels. Activations are uint8 with one scale a tensor, weights int8 with one a channel.
"""

import copy
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.quant_utils import QuantType, save_and_reload_model_with_shape_infer

from torchless.cpuinfo import CPUINFO, features
from torchless.errors import UsageError
from torchless_export.reduce.bias import Floats, bias_errors, without_errors
from torchless_export.reduce.images import Batch
from torchless_export.reduce.ranges import Range, ranges_of
from torchless_export.reduce.request import WeightBits

LAYERS = ("Conv", "Gemm", "MatMul")
_ACTIVATIONS = ("Relu", "Clip")  # become part of the layer before them
_PASSING = ("MaxPool", "AveragePool", "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Concat")

# What is quantised: "blocks" keeps numbers in int8 from layer to layer, across additions; "layers" leaves additions and
# means in float32, as transformers want it, whose sums span a range too wide for 8 bits.
RECIPES: dict[str, tuple[str, ...]] = {
    "blocks": (*LAYERS, *_ACTIVATIONS, *_PASSING, "Add", "GlobalAveragePool", "ReduceMean"),
    "layers": (*LAYERS, *_ACTIVATIONS, *_PASSING),
}

# The instructions that multiply bytes and add them up in 32 bits. Without one, sums of two products are kept in 16
# bits, which 8-bit weights overflow silently and 7-bit ones do not
# (onnxruntime.ai/docs/performance/model-optimizations/quantization.html).
_EXACT_DOT_PRODUCTS = {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"}


@dataclass(frozen=True)
class FloatGraph:
    """What is quantised: the model with inferred shapes, the range of each activation, and the mean error that int8
    makes in each layer with a bias (bias.py).
    """

    model: onnx.ModelProto
    ranges: dict[str, Range]
    weight_bits: WeightBits
    errors: dict[str, Floats] = field(default_factory=dict)

    @property
    def layers(self) -> list[tuple[str, ...]]:
        """The nodes that can stay in float32, each layer with the activation after it, in the order of the graph."""
        users: dict[str, list[onnx.NodeProto]] = {}
        for node in self.model.graph.node:
            for name in node.input:
                users.setdefault(name, []).append(node)
        weights = {weight.name for weight in self.model.graph.initializer}
        found = (node for node in self.model.graph.node if node.op_type in LAYERS and node.input[1] in weights)
        return [(node.name, *(user.name for user in _activation_of(node, users))) for node in found]

    def check_names(self, nodes: Iterable[str]) -> None:
        """Raises UsageError for a node that the graph does not have."""
        unknown = sorted(set(nodes) - {node.name for node in self.model.graph.node})
        if unknown:
            layers = ", ".join(group[0] for group in self.layers[:5])
            raise UsageError(f"the graph has no node {', '.join(unknown)}; its layers are {layers}, …")


def layers_in(path: Path, names: Iterable[str]) -> tuple[str, ...]:
    """Those of a file's nodes that are layers, without the activations that go with them."""
    kinds = {node.name: node.op_type for node in onnx.load(path, load_external_data=False).graph.node}
    return tuple(name for name in names if kinds.get(name) in LAYERS)


def measure(path: Path, batches: Sequence[Batch], input_name: str, weight_bits: WeightBits) -> FloatGraph:
    """Runs the float32 file on images for the range of each activation, and again beside int8 for the mean errors."""
    with _quiet():
        model = save_and_reload_model_with_shape_infer(onnx.load(path))
    ranges = ranges_of(model, batches, input_name)
    _clip_ranges(model, ranges)
    graph = FloatGraph(model, ranges, weight_bits)
    return replace(graph, errors=bias_errors(model, to_int8(graph, recipe="blocks"), batches, input_name))


def to_int8(
    graph: FloatGraph, *, recipe: str, kept_float: Sequence[str] = (), only: Sequence[str] = ()
) -> onnx.ModelProto:
    """The int8 model. `kept_float` are nodes that stay as they are; with `only`, all but those stay."""
    source = copy.deepcopy(graph.model)
    reduced = {name for name in graph.errors if name not in kept_float and (not only or name in only)}
    without_errors(source, {name: graph.errors[name] for name in reduced})
    options = {"MatMulConstBOnly": True, "WeightSymmetric": True, "ActivationSymmetric": False}
    with _quiet():
        quantizer = QDQQuantizer(
            source, True, graph.weight_bits == 7, QuantType.QInt8, QuantType.QUInt8,
            TensorsData(CalibrationMethod.MinMax, dict(graph.ranges)), list(only), list(kept_float),
            list(RECIPES[recipe]), options,
        )  # fmt: skip
        quantizer.quantize_model()
        _shield(quantizer.model.model, set(kept_float))
        quantizer.model.topological_sort()
    model: onnx.ModelProto = quantizer.model.model
    return model


def best_weight_bits(cpuinfo: Path = CPUINFO) -> WeightBits:
    """8 where this processor adds up products of bytes exactly, else 7."""
    return 8 if _EXACT_DOT_PRODUCTS.intersection(features(cpuinfo)) else 7


def _clip_ranges(model: onnx.ModelProto, ranges: dict[str, Range]) -> None:
    """Where an activation alone uses what it cuts off, the scale need not reach further."""
    uses = Counter(name for node in model.graph.node for name in node.input)
    uses.update(output.name for output in model.graph.output)
    for node in model.graph.node:
        if node.op_type in _ACTIVATIONS and uses[node.input[0]] == 1 and node.output[0] in ranges:
            ranges[node.input[0]] = ranges[node.output[0]]


def _shield(model: onnx.ModelProto, kept_float: set[str]) -> None:
    """Gives each layer that stays in float32 an input dequantised by channel, all with the same scale.

    ONNX Runtime quantises the weights of a float layer that stands between DequantizeLinear and QuantizeLinear when it
    loads the file, with one scale for all channels (its WeightBiasQuantization, from 1.21 on), which ruins the layers
    that were left in float32. It does so only where the input has one scale.
    """
    makers = {output: node for node in model.graph.node for output in node.output}
    constants = {
        weight.name: onnx.numpy_helper.to_array(weight)
        for weight in model.graph.initializer
        if weight.dims in ([], [1])
    }
    shapes = {weight.name: weight.dims for weight in model.graph.initializer}
    for node in list(model.graph.node):
        maker = makers.get(node.input[0]) if node.name in kept_float and node.op_type in ("Conv", "Gemm") else None
        if maker is None or maker.op_type != "DequantizeLinear" or node.input[1] not in shapes:
            continue
        channels, name = _channels(node, shapes[node.input[1]]), f"{node.name}_by_channel"
        for suffix, source in (("scale", maker.input[1]), ("zero_point", maker.input[2])):
            values = np.full(channels, constants[source].item(), constants[source].dtype)
            model.graph.initializer.append(onnx.numpy_helper.from_array(values, f"{name}_{suffix}"))
        inputs = [maker.input[0], f"{name}_scale", f"{name}_zero_point"]
        model.graph.node.append(onnx.helper.make_node("DequantizeLinear", inputs, [name], name=name, axis=1))
        node.input[0] = name


def _channels(node: onnx.NodeProto, shape: Sequence[int]) -> int:
    """How many channels the node's input has, from the shape of its weights."""
    given = {attribute.name: attribute.i for attribute in node.attribute}
    if node.op_type == "Conv":
        return int(shape[1] * given.get("group", 1))
    return int(shape[1]) if given.get("transB") else int(shape[0])


def _activation_of(node: onnx.NodeProto, users: dict[str, list[onnx.NodeProto]]) -> list[onnx.NodeProto]:
    following = users.get(node.output[0], [])
    return following if len(following) == 1 and following[0].op_type in _ACTIVATIONS else []


@contextmanager
def _quiet() -> Iterator[None]:
    """onnxruntime.quantization gives advice through the root logger, meant for users of its own command line."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
