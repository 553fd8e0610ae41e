"""The reader of ONNX files against protobuf's own, and on bytes that are no ONNX file."""

from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from tests import onnx_model
from tests.onnx_model import model, node, tensor, value

from torchless.errors import ArtifactDamagedError, ArtifactError, ArtifactNotFoundError
from torchless.model.onnxfile import read_onnx


def shape_of(value: onnx_model.ValueInfoProto) -> tuple:
    return tuple(d.dim_value if d.HasField("dim_value") else d.dim_param for d in value.type.tensor_type.shape.dim)


def location_of(weight: onnx_model.TensorProto) -> str | None:
    return {entry.key: entry.value for entry in weight.external_data}.get("location")


@pytest.mark.parametrize("name", ["tiny", "pixels", "pair"])
def test_agrees_with_protobuf(request: pytest.FixtureRequest, name: str) -> None:
    path = request.getfixturevalue(name)
    file, model = read_onnx(path), onnx_model.load(path)
    graph = file.graph
    assert file.ir_version == model.ir_version
    assert file.opsets == {"ai.onnx": model.opset_import[0].version}
    assert file.producer == model.producer_name
    assert file.metadata == {entry.key: entry.value for entry in model.metadata_props}
    assert list(graph.operators) == [node.op_type for node in model.graph.node]
    stored = [(weight.name, tuple(weight.dims), location_of(weight)) for weight in model.graph.initializer]
    assert [(weight.name, weight.shape, weight.location) for weight in graph.initializers] == stored
    for ours, theirs in ((graph.inputs, model.graph.input), (graph.outputs, model.graph.output)):
        assert [(t.name, t.shape) for t in ours] == [(t.name, shape_of(t)) for t in theirs]


def test_weights_that_old_files_list_as_inputs_are_none(tmp_path: Path) -> None:
    x, w, y = (value(name, [2]) for name in "xwy")
    onnx_model.save(model([node("Add", ["x", "w"], ["y"])], [x, w], [y], [tensor("w", [1, 1])]), tmp_path / "m.onnx")
    assert [tensor.name for tensor in read_onnx(tmp_path / "m.onnx").graph.inputs] == ["x"]


def test_shapes_that_are_not_there(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx_model.save(model([node("Identity", ["x"], ["y"])], [value("x", [None, "n", 3])], [value("y", None)]), path)
    read = read_onnx(path).graph
    assert read.inputs[0].shape == (None, "n", 3)
    assert read.outputs[0].shape is None


def test_external_data_is_named(pair: Path) -> None:
    file = read_onnx(pair)
    assert file.data_files == ("tiny.onnx.data",)
    assert {(weight.shape, weight.size) for weight in file.graph.initializers if weight.location} == {
        ((16, 8, 3, 3), 1152),
        ((5, 64), 320),
    }


def test_missing_and_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(
        ArtifactNotFoundError,
        match="there is no file .*nowhere.onnx; make it with: torchless export MODEL --output .*nowhere.onnx$",
    ):
        read_onnx(tmp_path / "nowhere.onnx")
    with pytest.raises(ArtifactNotFoundError, match="is a folder"):
        read_onnx(tmp_path)
    with pytest.raises(ArtifactNotFoundError, match="cannot read"):
        read_onnx("nul\0.onnx")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"\xff\xd8\xff\xe0 a photo", "is not an ONNX model; export or copy it again$"),
        (b"PK\x03\x04 a zip file", "is not an ONNX model; export or copy it again$"),
        (b"\x08\x0a", "it has no graph"),
        (b"\x08" + b"\xff" * 11, "more than ten bytes"),
        (b"\x08\x0a\x00\x0a", "there is no field 0"),
        (b"\x08\x0a\x88\x80\x80\x80\x10\x0a", "there is no field 536870913"),
        (b"\x08\x0a\x3d....", "a message was expected"),
        (b"\x3a\x00\x3a\x00", "it has two graphs"),
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


@settings(max_examples=300)
@given(position=st.floats(0, 1), patch=st.binary(min_size=1, max_size=8))
def test_damage_ends_in_our_errors_or_a_file(
    tiny: Path, tmp_path_factory: pytest.TempPathFactory, position: float, patch: bytes
) -> None:
    data = bytearray(tiny.read_bytes())
    start = int(position * (len(data) - len(patch)))
    data[start : start + len(patch)] = patch
    path = tmp_path_factory.getbasetemp() / "damaged.onnx"
    path.write_bytes(data)
    try:
        assert read_onnx(path).graph is not None
    except ArtifactError as error:
        assert "damaged.onnx" in str(error)
