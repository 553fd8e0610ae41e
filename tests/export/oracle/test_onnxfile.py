"""The runtime's reader of ONNX files against the onnx package."""

from pathlib import Path

import onnx

from torchless.model.onnxfile import read_onnx


def shape_of(value: onnx.ValueInfoProto) -> tuple:
    return tuple(d.dim_value if d.HasField("dim_value") else d.dim_param for d in value.type.tensor_type.shape.dim)


def test_they_agree_on_a_real_model(lite0: Path) -> None:
    file, model = read_onnx(lite0), onnx.load(lite0)
    graph = file.graph
    assert file.ir_version == model.ir_version
    assert file.opsets == {"ai.onnx": model.opset_import[0].version}
    assert file.producer == model.producer_name
    assert file.metadata == {entry.key: entry.value for entry in model.metadata_props}
    assert list(graph.operators) == [node.op_type for node in model.graph.node]
    assert [(w.name, w.shape, w.location) for w in graph.initializers] == [
        (w.name, tuple(w.dims), None) for w in model.graph.initializer
    ]
    for ours, theirs in ((graph.inputs, model.graph.input), (graph.outputs, model.graph.output)):
        assert [(t.name, t.shape) for t in ours] == [(t.name, shape_of(t)) for t in theirs]
