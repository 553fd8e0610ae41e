"""Our reader of ONNX files and those that load them: no model shows us other files than it shows them."""

from collections.abc import Sequence
from pathlib import Path

import hypothesis.strategies as st
import onnxruntime
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from tests.onnx_model import ModelProto, model, node, tensor, value

from torchless.errors import ArtifactError
from torchless.model.onnxfile import read_onnx

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
NAME = b"gone.bin"
Field = tuple[int, int, int, bytes]  # its number, the bits of its tag above the 32nd, its wire type, its content


def varint(number: int) -> bytes:
    head, number = bytes([number & 0x7F]), number >> 7
    return bytes([head[0] | 0x80]) + varint(number) if number else head


def message(fields: Sequence[Field]) -> bytes:
    parts = []
    for number, above, wire_type, content in fields:
        parts.append(varint(above << 32 | number << 3 | wire_type))
        match wire_type:
            case 0:
                parts.append(varint(len(content)))
            case 1 | 5:
                parts.append((content * 8)[: 8 if wire_type == FIXED64 else 4])
            case _:
                parts.append(varint(len(content)) + content)
    return b"".join(parts)


def field(number: int, content: bytes) -> Field:
    return number, 0, BYTES, content


def disturbed(right: Sequence[Field]) -> st.SearchStrategy[bytes]:
    """The fields in their order, with others between them that have the same numbers."""
    odd = st.tuples(
        st.sampled_from([*(number for number, *_ in right), 30]),
        st.sampled_from([0] * 9 + [1, 2, 7]),
        st.sampled_from([BYTES] * 6 + [VARINT, FIXED64, FIXED32]),
        st.sampled_from([b"", b"location", b"offset", NAME, b"x"]),
    )
    between = st.lists(st.tuples(st.integers(0, len(right)), odd), max_size=1)

    def build(found: list[tuple[int, Field]]) -> bytes:
        fields = list(right)
        for position, extra in found:
            fields.insert(position, extra)
        return message(fields)

    return between.map(build)


@st.composite
def models(draw: st.DrawFn) -> bytes:
    """Files that keep a weight elsewhere, said in a disturbed way at one or more depths."""
    pair = draw(disturbed([field(1, b"location"), field(2, NAME)]))
    weight = tensor("w", [1.0])
    weight.ClearField("raw_data")
    outside = (14, 0, VARINT, b"x")  # data_location: its number is the length of the content, 1 = EXTERNAL
    stored = draw(disturbed([field(13, pair), outside])) + weight.SerializeToString()
    x, y = (value(name, [1]) for name in "xy")
    whole = model([node("Add", ["x", "w"], ["y"])], [x], [y])
    graph = draw(disturbed([field(5, stored)])) + whole.graph.SerializeToString()
    whole.ClearField("graph")
    return draw(disturbed([field(7, graph)])) + whole.SerializeToString()


def wanted_by_onnxruntime(content: bytes) -> bool:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        return NAME.decode() in str(error)
    return False


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("readers") / "m.onnx"


@settings(max_examples=300)
@given(content=models())
def test_no_reader_sees_a_file_that_ours_does_not(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        locations = read_onnx(path).locations
    except ArtifactError:
        return
    try:
        read = ModelProto.FromString(content)
    except DecodeError:
        read = ModelProto()
    theirs = {
        entry.value for weight in read.graph.initializer for entry in weight.external_data if entry.key == "location"
    }
    assert theirs <= set(locations)
    if wanted_by_onnxruntime(content):
        assert NAME.decode() in locations
