"""Whether the runtime can take a file at all: what its graph is, before any figure. Needs onnx, not torch."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx

from torchless.errors import first_line
from torchless.model.manifest import Check
from torchless_export.convert.exporters import BATCH_AXIS
from torchless_export.gate.limits import MAX_IR_VERSION, MAX_OPSET
from torchless_export.in_graph.build import structure_problems, takes_pixels


def check_structure(path: Path) -> Check:
    """Whether the runtime can take the file: valid, symbolic batch, finite weights, nothing that old versions cannot
    read.
    """
    problems = list(_structure_problems(path))
    return Check(
        name="structure",
        passed=not problems,
        figure=len(problems),
        limit=0,
        detail="; ".join(problems) or "ONNX checker, symbolic sizes, finite weights",
    )


def _structure_problems(path: Path) -> Iterator[str]:
    try:
        onnx.checker.check_model(str(path), full_check=True)
        model = onnx.load(str(path))
    except (
        Exception
    ) as error:  # the checker and protobuf have exceptions of their own, whose only common base is Exception
        yield f"the ONNX checker rejects it: {first_line(error)}"
        return
    if model.ir_version > MAX_IR_VERSION:
        yield f"IR version {model.ir_version} is newer than {MAX_IR_VERSION}"
    yield from (
        f"opset {entry.domain or 'ai.onnx'} {entry.version} is not readable everywhere"
        for entry in model.opset_import
        if _is_foreign(entry)
    )
    yield from structure_problems(model.graph) if takes_pixels(model.graph) else _batch_problems(model.graph)
    for weight in model.graph.initializer:
        values = onnx.numpy_helper.to_array(weight)
        if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
            yield f"weight {weight.name} holds NaN or infinity"


def _batch_problems(graph: onnx.GraphProto) -> Iterator[str]:
    for tensor in (*graph.input, *graph.output):
        if tensor.type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
            yield (
                f"{tensor.name} is {onnx.TensorProto.DataType.Name(tensor.type.tensor_type.elem_type).lower()}, "
                f"not float32"
            )
        dimensions = tensor.type.tensor_type.shape.dim
        if len(dimensions) not in (2, 4):
            yield f"{tensor.name} has {len(dimensions)} dimensions"
            continue
        first = dimensions[0]
        if first.dim_param != BATCH_AXIS:
            yield (
                f"the batch axis of {tensor.name} is {first.dim_param or f'frozen at {first.dim_value}'}, not "
                f"{BATCH_AXIS}"
            )


def _is_foreign(entry: onnx.OperatorSetIdProto) -> bool:
    return entry.domain not in ("", "ai.onnx") or entry.version > MAX_OPSET
