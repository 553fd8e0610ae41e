"""The reader of ONNX files against the onnx package, and on bytes that are no ONNX file."""

from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from onnx import TensorProto, helper, numpy_helper

from torchless.errors import ArtifactDamagedError, ArtifactError, ArtifactNotFoundError
from torchless.model.onnxfile import read_onnx


def shape_of(value: onnx.ValueInfoProto) -> tuple:
    return tuple(d.dim_value if d.HasField("dim_value") else d.dim_param for d in value.type.tensor_type.shape.dim)


def test_agrees_with_the_onnx_package(lite0: Path) -> None:
    file, model = read_onnx(lite0), onnx.load(lite0)
    graph = file.graph
    assert file.ir_version == model.ir_version
    assert file.opsets == {"ai.onnx": model.opset_import[0].version}
    assert file.producer == model.producer_name
    assert file.metadata == {entry.key: entry.value for entry in model.metadata_props}
    assert list(graph.operators) == [node.op_type for node in model.graph.node]
    assert [(w.name, w.shape, w.location) for w in graph.initializers] == [(w.name, tuple(w.dims), None) for w in model.graph.initializer]
    for ours, theirs in ((graph.inputs, model.graph.input), (graph.outputs, model.graph.output)):
        assert [(t.name, t.shape) for t in ours] == [(t.name, shape_of(t)) for t in theirs]


def test_weights_that_old_files_list_as_inputs_are_none(tmp_path: Path) -> None:
    weight = numpy_helper.from_array(np.ones(2, np.float32), "w")
    values = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "xwy"}
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", [values["x"], values["w"]], [values["y"]], [weight])
    onnx.save(helper.make_model(graph), tmp_path / "m.onnx")
    assert [tensor.name for tensor in read_onnx(tmp_path / "m.onnx").graph.inputs] == ["x"]


def test_shapes_that_are_not_there(tmp_path: Path) -> None:
    unknown = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, "n", 3])
    ranked = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [unknown], [ranked])
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph), path)
    read = read_onnx(path).graph
    assert read.inputs[0].shape == (None, "n", 3)
    assert read.outputs[0].shape is None


def test_external_data_is_named(tmp_path: Path) -> None:
    weight = numpy_helper.from_array(np.full(1024, 0.5, np.float32), "w")
    graph = helper.make_graph([helper.make_node("Identity", ["w"], ["y"])], "g", [], [helper.make_tensor_value_info("y", 1, [1024])], [weight])
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph), path, save_as_external_data=True, location="m.onnx.data", size_threshold=0, convert_attribute=False)
    (weight,) = read_onnx(path).graph.initializers
    assert (weight.name, weight.shape, weight.size, weight.location) == ("w", (1024,), 1024, "m.onnx.data")


def test_missing_and_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(ArtifactNotFoundError, match="there is no file .*nowhere.onnx; make it with: torchless export nowhere"):
        read_onnx(tmp_path / "nowhere.onnx")
    with pytest.raises(ArtifactNotFoundError, match="is a folder"):
        read_onnx(tmp_path)
    with pytest.raises(ArtifactNotFoundError, match="cannot read"):
        read_onnx("nul\0.onnx")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"\xff\xd8\xff\xe0 a photo", "is not an ONNX model"),
        (b"PK\x03\x04 a zip file", "is not an ONNX model"),
        (b"\x08\x0a", "it has no graph"),
        (b"\x08" + b"\xff" * 11, "more than ten bytes"),
    ],
)
def test_what_is_no_onnx_file(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    with pytest.raises(ArtifactDamagedError, match=message):
        read_onnx(path)


def test_every_truncation_is_noticed(tiny: Path, tmp_path: Path) -> None:
    data, path = tiny.read_bytes(), tmp_path / "short.onnx"
    for length in range(1, len(data), 997):
        path.write_bytes(data[:length])
        with pytest.raises(ArtifactDamagedError):
            read_onnx(path)


@settings(max_examples=300, deadline=None)
@given(position=st.floats(0, 1), patch=st.binary(min_size=1, max_size=8))
def test_damage_ends_in_our_errors_or_a_file(tiny: Path, tmp_path_factory: pytest.TempPathFactory, position: float, patch: bytes) -> None:
    data = bytearray(tiny.read_bytes())
    start = int(position * (len(data) - len(patch)))
    data[start : start + len(patch)] = patch
    path = tmp_path_factory.getbasetemp() / "damaged.onnx"
    path.write_bytes(data)
    try:
        assert read_onnx(path).graph is not None
    except ArtifactError as error:
        assert "damaged.onnx" in str(error)
