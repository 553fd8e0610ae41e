"""nn.Module → ONNX model, through torch's dynamo exporter."""

import warnings
from typing import Any

import onnx
import torch
from torch import nn

from torchless_export.errors import ExportError

INPUT_NAME, OUTPUT_NAME, BATCH_AXIS = "input", "logits", "batch"
EXPORTER = "dynamo"
DEFAULT_OPSET = 20
OLDEST_OPSET = 18  # what the dynamo exporter writes at the least

# Notes of the nn.Module that each operator came from; the exporter's others hold stack traces with the paths of the machine that exported.
_KEPT_NOTES = ("pkg.torch.onnx.name_scopes", "pkg.torch.onnx.class_hierarchy")


def to_onnx(module: nn.Module, crop_size: int, *, opset: int = DEFAULT_OPSET) -> onnx.ModelProto:
    """`module`, in eval mode, as an ONNX model: `input` float32 (batch, 3, crop_size, crop_size) → `logits` (batch, classes).

    Traced with two images, so that a batch of one is not frozen into the graph. Raises ExportError when torch cannot do it.
    """
    example = torch.rand(2, 3, crop_size, crop_size, generator=torch.Generator().manual_seed(0))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecations inside torch's own exporter
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
    except Exception as error:  # the exporter lets through whatever went wrong inside it
        raise ExportError(f"torch's {EXPORTER} exporter failed: {str(error).strip() or type(error).__name__}") from error
    if program is None:
        raise ExportError(f"torch's {EXPORTER} exporter gave no model")
    model: onnx.ModelProto = program.model_proto
    _strip_notes(model)
    return model


def opset_of(model: onnx.ModelProto) -> int:
    """The version of the standard operators that the model uses."""
    return next(int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx"))


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
