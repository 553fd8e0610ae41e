"""Preprocessing inside the graph: a network that takes float32 tensors becomes one that takes an image's pixels, uint8
(H, W, 3).

So programs in C++, C#, Java or JavaScript need no preprocessing of their own. They still decode the file, turn it
upright (EXIF) and give RGB.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from PIL import Image

from torchless.engine.head import is_binary
from torchless.engine.loading import import_onnxruntime
from torchless.errors import UsageError, first_line
from torchless.model.manifest import InputInfo, Manifest
from torchless.model.preprocessing import Preprocess
from torchless_export.errors import ExportError
from torchless_export.in_graph.nodes import Nodes
from torchless_export.in_graph.resample import resized_crop

INPUT_NAME, OUTPUT_SHAPE = "image", ("height", "width", 3)
PROBABILITIES, CLASSES, LABELS = "top_probabilities", "top_classes", "top_labels"
OLDEST_OPSET = 18  # since which ReduceMin takes its axes as an input
PREFIX, _TOP_PREFIX = "preprocess/", "top/"


@dataclass(frozen=True, kw_only=True)
class InGraph:
    """What the graph does besides the network. With `top_k` it also gives that many of the most probable classes, with
    their labels.
    """

    top_k: int | None = None

    def check_fits(self, spec: Preprocess, num_classes: int, opset: int) -> None:
        """Raises UsageError for what cannot be put into a graph of that opset."""
        if opset < OLDEST_OPSET:
            raise UsageError(f"preprocessing in the graph needs `opset` {OLDEST_OPSET} or newer; got {opset}")
        if spec.size is None:
            raise UsageError(
                f"a graph makes images of one size, and resize {spec.resize} without a crop does not; give `crop`"
            )
        if self.top_k is not None and not 1 <= self.top_k <= num_classes:
            raise UsageError(
                f"a graph can give the best 1 to {num_classes} of its {num_classes} classes; got {self.top_k}"
            )


def put_in_graph(model: onnx.ModelProto, manifest: Manifest, wanted: InGraph) -> Manifest:
    """Changes `model`, which `manifest` describes, and returns its new manifest. Raises UsageError for what cannot be
    done.

    Input: `image`, uint8 (height, width, 3). Outputs: the network's own, (1, classes), and with `top_k` also
    `top_probabilities` float32, `top_classes` int64 and `top_labels` strings, each (k,), the most probable first.
    """
    wanted.check_fits(manifest.preprocess, len(manifest.labels), model.opset_import[0].version)
    graph, op = model.graph, Nodes(PREFIX)
    add_preprocessing(op, manifest.preprocess, graph.input[0].name)
    top = Nodes(_TOP_PREFIX)
    if wanted.top_k is not None:
        _rank(top, manifest, wanted.top_k, graph.output[0].type.tensor_type.shape.dim[1].dim_value)
        graph.output.extend(_top_outputs(wanted.top_k))
    nodes = [*op.nodes, *graph.node, *top.nodes]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend([*op.constants, *top.constants])
    graph.input[0].CopyFrom(onnx.helper.make_tensor_value_info(INPUT_NAME, onnx.TensorProto.UINT8, list(OUTPUT_SHAPE)))
    _set_batch_of_one(graph)
    return replace(
        manifest,
        input=InputInfo(name=INPUT_NAME, shape=OUTPUT_SHAPE, dtype="uint8"),
        output=replace(manifest.output, top_k=wanted.top_k),
    )


def add_preprocessing(op: Nodes, spec: Preprocess, output: str) -> None:
    """The steps of torchless.image.preprocess, each rounded to float32 as it is there: from INPUT_NAME, uint8 (height,
    width, 3), to `output`, float32 (1, channels, height, width).
    """
    pixels = resized_crop(op, INPUT_NAME, spec)
    mean, std = (np.array(values, np.float32).reshape(-1, 1, 1) for values in (spec.mean, spec.std))
    unit = op.Div(pixels, np.float32(255)) if spec.scale == "divide" else op.Mul(pixels, np.float32(1 / 255))
    normalized = op.Div(op.Sub(unit, mean), std)
    op.Unsqueeze(normalized, np.array([0], np.int64), gives=(output,))


def _rank(op: Nodes, manifest: Manifest, top_k: int, outputs: int) -> None:
    """By the output itself, where probabilities may be equal because they are rounded to 0 or 1. Of equal outputs the
    lower index comes first, as in torchless.engine.head.
    """
    activation = manifest.output.activation
    scores = op.Squeeze(manifest.output.name, np.array([0], np.int64))
    if is_binary(manifest.labels, outputs):
        negative = op.Sub(np.float32(1), scores) if activation == "none" else op.Neg(scores)
        scores = op.Concat(negative, scores, axis=0)
    op.several("TopK", scores, np.array([top_k], np.int64), gives=(f"{_TOP_PREFIX}scores", CLASSES))
    probabilities = {"softmax": op.Softmax, "sigmoid": op.Sigmoid, "none": op.Identity}[activation](scores)
    op.Gather(probabilities, CLASSES, gives=(PROBABILITIES,))
    op.Gather(np.array(manifest.labels, dtype=object), CLASSES, gives=(LABELS,))


def _top_outputs(top_k: int) -> list[onnx.ValueInfoProto]:
    types = {PROBABILITIES: onnx.TensorProto.FLOAT, CLASSES: onnx.TensorProto.INT64, LABELS: onnx.TensorProto.STRING}
    return [onnx.helper.make_tensor_value_info(name, kind, [top_k]) for name, kind in types.items()]


def _set_batch_of_one(graph: onnx.GraphProto) -> None:
    del graph.value_info[:]  # they describe a batch axis that no longer exists
    graph.output[0].type.tensor_type.shape.dim[0].dim_value = 1


def takes_pixels(graph: onnx.GraphProto) -> bool:
    """Whether the preprocessing is in the graph."""
    return len(graph.input) == 1 and graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8


def structure_problems(graph: onnx.GraphProto) -> Iterator[str]:
    """What is wrong with the input and the output of a graph that takes pixels."""
    ends = {INPUT_NAME: graph.input[0], "the output": graph.output[0]}
    shapes = {
        name: [each.dim_param or each.dim_value for each in tensor.type.tensor_type.shape.dim]
        for name, tensor in ends.items()
    }
    if shapes[INPUT_NAME] != list(OUTPUT_SHAPE):
        yield f"{graph.input[0].name} is {shapes[INPUT_NAME]}, not {list(OUTPUT_SHAPE)}"
    if (
        graph.output[0].type.tensor_type.elem_type != onnx.TensorProto.FLOAT
        or shapes["the output"][:1] != [1]
        or len(shapes["the output"]) != 2
    ):
        yield f"{graph.output[0].name} is no float32 (1, classes)"


class GraphPreprocessing:
    """What the network inside an artifact sees: the part of the graph before it, on its own."""

    def __init__(self, path: Path, *, threads: int = 0) -> None:
        """`threads` 0 means all processors. Raises ExportError for a graph that cannot be taken apart."""
        part, ort = _preprocessing_of(onnx.load(path, load_external_data=False)), import_onnxruntime()
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        try:
            self._session = ort.InferenceSession(part.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions share no base class but Exception
            raise ExportError(f"{path}: its preprocessing does not run on its own: {first_line(error)}") from error

    def __call__(self, image: Image.Image) -> NDArray[np.float32]:
        """An RGB image as the network sees it, float32 (channels, height, width)."""
        pixels: NDArray[np.float32] = self._session.run(None, {INPUT_NAME: np.asarray(image)})[0][0]
        return pixels


def _preprocessing_of(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph up to the network. (onnx.utils.Extractor would leave out what only the branches of an If use.)"""
    nodes = [node for node in model.graph.node if node.name.startswith(PREFIX)]
    constants = [each for each in model.graph.initializer if each.name.startswith(PREFIX)]
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        for node in nodes[-1:]
        for name in node.output
    ]
    graph = onnx.helper.make_graph(nodes, PREFIX, model.graph.input, ends, constants)
    return onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
