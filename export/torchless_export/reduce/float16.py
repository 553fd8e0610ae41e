"""A float32 graph → float16, with float32 inputs and outputs: onnxruntime.transformers.float16, which comes with ONNX
Runtime.

Meant for GPUs. float16 ends at 65504: nodes whose values came near that, on photos and noise, stay in float32, like the
operators that the converter leaves out. A CPU hides an overflow, since ONNX Runtime computes in float32 there, so the
ranges are measured on the float32 model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization.onnx_model import ONNXModel
from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

from torchless.errors import UsageError
from torchless_export.gate.node_values import node_values
from torchless_export.reduce.images import Batch

# Sums over many numbers, and what divides by a standard deviation or takes exponents: a few more operators in float32
# cost almost nothing.
SENSITIVE = ("LayerNormalization", "InstanceNormalization", "ReduceMean", "Softmax")
LARGEST = 65504.0 / 8  # of what was seen; other images may go beyond it


@dataclass(frozen=True)
class Half:
    """The float16 model; `kept_float` are the operator types and then the nodes that stay in float32; `notes` tell the
    user what stayed in float32, and why.
    """

    model: onnx.ModelProto
    kept_float: tuple[str, ...]
    notes: tuple[str, ...]


def to_float16(path: Path, batches: Sequence[Batch], input_name: str, *, kept_float: Sequence[str] = ()) -> Half:
    """Converts the file at `path`. `batches` are run for the ranges; `kept_float` are operator types to leave in
    float32 too.

    Raises UsageError for a type that the graph does not have.
    """
    model = onnx.load(path)
    present = {node.op_type for node in model.graph.node}
    unknown = sorted(set(kept_float) - present)
    if unknown:
        raise UsageError(f"{path} has no operator {', '.join(unknown)}; it has {', '.join(sorted(present))}")
    _forget_types_of_initializers(model.graph)
    large = _large(model, batches, input_name)
    operators = sorted({*SENSITIVE, *kept_float} & present)
    converted = convert_float_to_float16(
        model,
        keep_io_types=True,
        op_block_list=[*DEFAULT_OP_BLOCK_LIST, *operators],
        node_block_list=list(large),
        disable_shape_infer=False,
    )
    ONNXModel(converted).topological_sort()
    notes = [f"in float32: {', '.join([*operators, *large]) or 'nothing'}"]
    notes += [f"{name} reaches {value:.3g} of float16's 65504" for name, value in large.items()]
    return Half(converted, (*operators, *large), tuple(notes))


def _forget_types_of_initializers(graph: onnx.GraphProto) -> None:
    """torch's exporter writes each initializer's type a second time, as that of a value. The converter turns all values
    into float16, but leaves in float32 the initializers that only a node in float32 reads: the two would differ.
    """
    known = {one.name for one in graph.initializer}
    kept = [value for value in graph.value_info if value.name not in known]
    del graph.value_info[:]
    graph.value_info.extend(kept)


def _large(model: onnx.ModelProto, batches: Sequence[Batch], input_name: str) -> dict[str, float]:
    """The nodes whose inputs or outputs come near the end of float16, with their largest value."""
    values = node_values(model, input_name)
    most: dict[str, float] = {}
    for batch in batches:
        for name, value in values(batch).items():
            most[name] = max(most.get(name, 0.0), float(np.abs(value).max(initial=0.0)))
    reached = {
        node.name: max((most.get(name, 0.0) for name in (*node.input, *node.output)), default=0.0)
        for node in model.graph.node
    }
    return {name: value for name, value in reached.items() if value > LARGEST}
