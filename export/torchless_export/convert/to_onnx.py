"""nn.Module → ONNX model, through either of torch's two exporters."""

import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
import onnx
import torch
from torch import nn

from torchless.errors import first_line
from torchless.heaps import no_search_for_garbage
from torchless_export.convert.exporters import BATCH_AXIS, DEFAULT_OPSET, INPUT_NAME, OUTPUT_NAME, Exporter
from torchless_export.errors import ExportError

_AXES_ARE_INPUTS = 18  # ReduceMean's, since that opset; before, an attribute

# Notes of the nn.Module that each operator came from. The exporter's other notes hold stack traces with paths of the
# exporting machine.
_KEPT_NOTES = ("pkg.torch.onnx.name_scopes", "pkg.torch.onnx.class_hierarchy")


def to_onnx(
    module: nn.Module, shape: tuple[int, int, int], *, exporter: Exporter = "dynamo", opset: int = DEFAULT_OPSET
) -> onnx.ModelProto:
    """`module`, in eval mode, as an ONNX model: `input` float32 (batch, *shape) → `logits` (batch, classes). `shape` is
    that of a prepared image, (channels, height, width).

    Traced with two images, so that a batch of one is not frozen into the graph. With an opset older than the default
    one, the file's IR version is as old as the opset. Raises ExportError where torch cannot convert it.
    """
    example = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    convert = {"dynamo": _with_dynamo, "torchscript": _with_torchscript}[exporter]
    try:
        with _quiet(), no_search_for_garbage():
            model = convert(module, example, opset)
    except Exception as error:  # the exporters pass on whatever went wrong inside them
        raise ExportError(f"torch's {exporter} exporter failed: {_cause(error)}") from error
    if opset_of(model) != opset:
        raise ExportError(f"torch's {exporter} exporter wrote opset {opset_of(model)}, not {opset}")
    if opset < DEFAULT_OPSET:  # it is for an older runtime, which does not read newer IR versions either
        model.ir_version = onnx.helper.find_min_ir_version_for(model.opset_import)
    _strip_notes(model)
    _split_means(model.graph, opset)
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch's exporters say of themselves: deprecations, and the guesses of their tracers, which the gate
    checks, in warnings and in the log; in the log also, over many lines, what they raise. Older versions say a lot.
    """
    before = logging.root.manager.disable
    logging.disable(max(before, logging.ERROR))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def opset_of(model: onnx.ModelProto) -> int:
    """The version of the standard operators that the model uses."""
    return next(int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx"))


def _with_dynamo(module: nn.Module, example: torch.Tensor, opset: int) -> onnx.ModelProto:
    program = torch.onnx.export(
        module,
        (example,),
        dynamo=True,
        input_names=[INPUT_NAME],
        output_names=[OUTPUT_NAME],
        dynamic_shapes=({0: torch.export.Dim(BATCH_AXIS)},),
        opset_version=opset,
        verbose=False,
    )
    if program is None:
        raise ExportError("it returned no model")
    model: onnx.ModelProto = program.model_proto
    return model


def _with_torchscript(module: nn.Module, example: torch.Tensor, opset: int) -> onnx.ModelProto:
    buffer: Any = io.BytesIO()  # torch's signature says str or path, but it takes any binary stream
    # Where it fails, it would print the whole graph on stdout; what switches that off has no effect.
    with patch.object(torch._C, "_jit_onnx_log", lambda *_: None, create=True):
        torch.onnx.export(
            module,
            (example,),
            buffer,
            dynamo=False,
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            dynamic_axes={INPUT_NAME: {0: BATCH_AXIS}, OUTPUT_NAME: {0: BATCH_AXIS}},
            opset_version=opset,
        )
    return onnx.load_model_from_string(buffer.getvalue())


def _cause(error: Exception) -> str:
    """torch's exporters end a page of advice with the exception that matters, or have it as the cause."""
    return first_line(error.__cause__ or error)


def _split_means(graph: onnx.GraphProto, opset: int) -> None:
    """Puts a mean over the last axis before each mean over several axes, which is then left with short sums.

    ONNX Runtime adds up the numbers of a mean one after the other: over 228×228 pixels it loses a hundred times what
    PyTorch does, and efficientnet_b5 fails the gate because of it. Two short sums lose almost nothing (docs/parity.md
    has the figures), and are no slower.
    """
    constants = {weight.name: weight for weight in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        axis = _last_of_several_axes(node, constants)
        if axis is not None:
            first = _mean(node, axis, graph, opset)
            first.metadata_props.extend(node.metadata_props)
            node.input[0] = first.output[0]
            nodes.append(first)
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


def _mean(node: onnx.NodeProto, axis: int, graph: onnx.GraphProto, opset: int) -> onnx.NodeProto:
    """Of what `node` takes, over one axis, which is kept. Since opset 18 the axis is an input."""
    rows, name = f"{node.output[0]}_of_rows", f"{node.name}_of_rows"
    if opset < _AXES_ARE_INPUTS:
        return onnx.helper.make_node("ReduceMean", [node.input[0]], [rows], name=name, axes=[axis], keepdims=1)
    axes = onnx.numpy_helper.from_array(np.array([axis], np.int64), f"{node.output[0]}_axis")
    graph.initializer.append(axes)
    return onnx.helper.make_node("ReduceMean", [node.input[0], axes.name], [rows], name=name, keepdims=1)


def _last_of_several_axes(node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]) -> int | None:
    if node.op_type == "GlobalAveragePool":
        return -1
    if node.op_type != "ReduceMean":
        return None
    axes = [axis for attribute in node.attribute if attribute.name == "axes" for axis in attribute.ints]
    if len(node.input) > 1 and node.input[1] in constants:
        axes = onnx.numpy_helper.to_array(constants[node.input[1]]).tolist()
    return int(max(axes)) if len(axes) > 1 else None


def _strip_notes(model: onnx.ModelProto) -> None:
    graph = model.graph
    for node in graph.node:
        kept = {entry.key: entry.value for entry in node.metadata_props if entry.key in _KEPT_NOTES}
        del node.metadata_props[:]
        onnx.helper.set_model_props(node, kept)
        node.doc_string = ""
    noted: list[Any] = [model, graph, *graph.input, *graph.output, *graph.value_info, *graph.initializer]
    for item in noted:
        del item.metadata_props[:]
        item.doc_string = ""
