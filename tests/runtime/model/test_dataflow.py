from pathlib import Path
from typing import Any

from tests import onnx_model
from tests.onnx_model import GraphProto, node, tensor, value

from torchless.model.dataflow import dataflow
from torchless.model.onnxfile import HeldFiles, read_onnx


def named(name: str, operator: str, inputs: list[str], outputs: list[str], **attributes: Any) -> Any:
    made = node(operator, inputs, outputs, **attributes)
    made.name = name
    return made


def test_what_computes_on_the_image_and_what_on_its_shape(tmp_path: Path) -> None:
    """The sizes for Reshape come from the image's shape, and so does the choice of If; what If does is on the image."""
    branch = GraphProto(
        name="branch", node=[named("inner", "Neg", ["flat"], ["turned"])], output=[value("turned", None)]
    )
    model = onnx_model.model(
        [
            named("relu", "Relu", ["image"], ["relu_"]),
            named("sides", "Shape", ["image"], ["sides_"]),
            named("first", "Gather", ["sides_", "zero"], ["first_"]),
            named("wide", "Greater", ["first_", "zero"], ["wide_"]),
            named("all", "Concat", ["first_", "rest"], ["all_"], axis=0),
            named("flat", "Reshape", ["relu_", "all_"], ["flat"]),
            named("choice", "If", ["wide_"], ["logits"], then_branch=branch, else_branch=branch),
        ],
        [value("image", ("batch", 3, 4, 4))],
        [value("logits", None)],
        [tensor("zero", [0], "int64"), tensor("rest", [48], "int64")],
    )
    flow = dataflow(read_onnx(tmp_path / "model.onnx", held=HeldFiles(model.SerializeToString())))
    onnx_model.save(model, tmp_path / "model.onnx")
    assert flow == dataflow(read_onnx(tmp_path / "model.onnx"))
    assert {name for name, _ in flow.on_image} == {"relu", "flat", "inner", "choice"}
    assert {name for name, _ in flow.others} == {"sides", "first", "wide", "all"}
    on_image = [name for name, operator in sorted(flow.others | flow.on_image) if flow.is_on_image(name, operator)]
    assert on_image == ["choice", "flat", "inner", "relu"]
    assert flow.is_on_image("fused", "Conv")
    assert not flow.is_on_image("new", "Shape")
