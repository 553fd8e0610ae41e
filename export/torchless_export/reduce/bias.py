"""The mean error that int8 makes in a layer's outputs: rounded weights and inputs shift a channel, the same way for all
images. The bias can make up for that (bias correction, Nagel et al., 2019, arxiv.org/abs/1906.04721).

It is one number for each channel, over all images and positions: too few to learn the images by heart.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from torchless.engine.loading import import_onnxruntime
from torchless_export.reduce.images import Batch

_CORRECTED = ("Conv", "Gemm")

Floats = NDArray[np.float32]


def bias_errors(
    model: onnx.ModelProto, small: onnx.ModelProto, batches: Iterable[Batch], input_name: str
) -> dict[str, Floats]:
    """By the name of a layer with a bias of its own: the mean of its int8 outputs less float32's, (channels,).

    `small` is `model` in int8. Each of its layers gets the inputs that float32 has there, so it answers for its own
    error alone. There is at least one batch.
    """
    layers = _with_bias(model, small)
    names, session = [_error(layer) for layer in layers], _open(_side_by_side(model, small, layers))
    sums, count = [np.zeros(1)] * len(layers), 0
    for batch in batches if layers else ():
        found = session.run(names, {input_name: batch})
        sums = [total + _mean_of_channels(value) for total, value in zip(sums, found, strict=True)]
        count += 1
    return {layer: (total / count).astype(np.float32) for layer, total in zip(layers, sums, strict=True)}


def without_errors(model: onnx.ModelProto, errors: dict[str, Floats]) -> None:
    """Takes them out of the biases of those layers, in `model` itself."""
    biases = {node.input[2]: errors[node.name] for node in model.graph.node if node.name in errors}
    for weight in model.graph.initializer:
        if weight.name in biases:
            values = onnx.numpy_helper.to_array(weight) - biases[weight.name]
            weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))


def _with_bias(model: onnx.ModelProto, small: onnx.ModelProto) -> dict[str, tuple[str, str]]:
    """The layers by name, each with its output in `model` and in `small`."""
    uses = Counter(name for node in model.graph.node for name in node.input)
    own = {weight.name for weight in model.graph.initializer if uses[weight.name] == 1}
    outputs = {node.name: node.output[0] for node in small.graph.node}
    found = (node for node in model.graph.node if node.op_type in _CORRECTED and len(node.input) == 3)
    return {node.name: (node.output[0], outputs[node.name]) for node in found if node.input[2] in own}


def _side_by_side(
    model: onnx.ModelProto, small: onnx.ModelProto, layers: dict[str, tuple[str, str]]
) -> onnx.ModelProto:
    """Both networks in one graph; its outputs are the differences. What int8 rounds comes from the float32 network."""
    both, graph = onnx.ModelProto(), small.graph
    both.CopyFrom(model)
    known = {opset.domain for opset in model.opset_import}
    both.opset_import.extend(opset for opset in small.opset_import if opset.domain not in known)
    given = {entry.name for entry in graph.input} | {""}
    floats = {name for node in model.graph.node for name in node.output}
    both.graph.initializer.extend(_renamed(weight) for weight in graph.initializer)
    for node in graph.node:
        twin = both.graph.node.add()
        twin.CopyFrom(node)
        twin.name = _twin(node.name)
        shared = given | (floats if node.op_type == "QuantizeLinear" else set())
        twin.input[:] = [name if name in shared else _twin(name) for name in node.input]
        twin.output[:] = [_twin(name) for name in node.output]
    for layer, (wanted, got) in layers.items():
        both.graph.node.append(onnx.helper.make_node("Sub", [_twin(got), wanted], [_error(layer)]))
    del both.graph.output[:]
    both.graph.output.extend(onnx.ValueInfoProto(name=_error(layer)) for layer in layers)
    return both


def _renamed(weight: onnx.TensorProto) -> onnx.TensorProto:
    twin = onnx.TensorProto()
    twin.CopyFrom(weight)
    twin.name = _twin(weight.name)
    return twin


def _twin(name: str) -> str:
    return f"{name}:int8"


def _error(layer: str) -> str:
    return f"{layer}:error"


def _mean_of_channels(value: Floats) -> NDArray[np.float64]:
    """(N, channels, …) → (channels,)."""
    found: NDArray[np.float64] = value.mean(axis=(0, *range(2, value.ndim)), dtype=np.float64)
    return found


def _open(model: onnx.ModelProto) -> Any:
    """A session that leaves the int8 network as it is written: a layer is not merged with the rounding after it."""
    ort = import_onnxruntime()
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
