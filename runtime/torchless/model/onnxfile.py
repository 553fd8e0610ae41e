"""Reads ONNX files without the onnx package: the header, the metadata, and the graph's shape, but never the weights.

onnx/onnx.proto gives the field numbers; only the fields named here are read. A file is mapped, not loaded, and its
messages are walked once, so reading it takes the same few milliseconds for 1 MB and for 1 GB.
"""

import math
import mmap
from collections.abc import Iterator, Mapping
from dataclasses import field
from os import PathLike, fsdecode, fspath
from pathlib import Path

from torchless.errors import ArtifactDamagedError, ArtifactError, ArtifactNotFoundError
from torchless.files import open_regular
from torchless.model.protobuf import MalformedError, Value, fields_of, integer, integers, message, text
from torchless.records import dataclass

_EXTERNAL = 1
_MOST_NESTED = 100  # as protobuf's own limit
_NO_BYTES = memoryview(b"")

# The messages in which tensors can be, each with the fields that lead to them: the field's number → the message in it.
_FIELDS = {
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
# The keys of ModelProto's fields, 1 to 8, 14, 20, 25 and 26: one of them begins every model.
_BEGINNINGS = (b"\x08", b"\x12", b"\x1a", b'"', b"(", b"2", b":", b"B", b"r", b"\xa2\x01", b"\xca\x01", b"\xd2\x01")
_EXTERNAL_DATA = 13  # of TensorProto: pairs of a key and a value


@dataclass(frozen=True)
class TensorType:
    """An input or output; `shape` is None where the file does not say, a dimension None where it has no name."""

    name: str
    shape: tuple[int | str | None, ...] | None


@dataclass(frozen=True)
class Initializer:
    """A stored weight. `location` is the file that holds it, None for the model file itself."""

    name: str
    shape: tuple[int, ...]
    location: str | None

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class Graph:
    """`operators` has the type of each node, in order; `inputs` are those that a caller gives."""

    operators: tuple[str, ...]
    initializers: tuple[Initializer, ...]
    inputs: tuple[TensorType, ...]
    outputs: tuple[TensorType, ...]


@dataclass(frozen=True)
class HeldFiles:
    """The bytes of a model file and, by name, of its data files: read once, so what was checked is what is loaded."""

    content: bytes = field(repr=False)
    data: Mapping[str, bytes] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class OnnxFile:
    """An ONNX file's header, metadata and graph.

    `file_size` is in bytes. `locations` has one entry per tensor that is kept in another file, anywhere in the model:
    that file's name. `held` is what it was read from, if not from the file at `path`.
    """

    path: Path
    file_size: int
    ir_version: int
    producer: str
    opsets: dict[str, int]
    metadata: dict[str, str]
    graph: Graph
    locations: tuple[str, ...]
    held: HeldFiles | None = None

    @property
    def data_files(self) -> tuple[str, ...]:
        """The names of the files beside this one that hold tensors of it."""
        return tuple(dict.fromkeys(self.locations))


def read_onnx(path: str | PathLike[str], *, held: HeldFiles | None = None) -> OnnxFile:
    """Reads the file at `path`, or what is `held` of it.

    Raises ArtifactNotFoundError, or ArtifactDamagedError if it is truncated or no ONNX model.
    """
    file = Path(path)
    if held is not None:
        return _parse(file, memoryview(held.content), held)
    try:
        with open_regular(file) as stream:  # a pipe in a folder of models would be waited for
            # Not closed explicitly: that fails while a slice of it is alive, and it is freed with the last slice.
            content = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) if file.stat().st_size else b""
            return _parse(file, memoryview(content))
    except FileNotFoundError:
        from torchless.model.missing import missing_model

        raise ArtifactNotFoundError(missing_model(file)) from None
    except IsADirectoryError:
        from torchless.model.missing import folder_for_model

        raise ArtifactNotFoundError(folder_for_model(file)) from None
    except (OSError, ValueError) as error:
        if isinstance(error, ArtifactError):
            raise
        raise ArtifactNotFoundError(
            f"cannot read {fspath(file)!r}: {getattr(error, 'strerror', None) or error}"
        ) from None


def _parse(file: Path, view: memoryview, held: HeldFiles | None = None) -> OnnxFile:
    if not view:
        raise ArtifactDamagedError(f"{file} is empty; export the model again")
    if not bytes(view[:2]).startswith(_BEGINNINGS):  # else the reader's complaint would hide the plain fact
        from torchless.model.missing import instead_of

        raise ArtifactDamagedError(f"{file} is not an ONNX model; {instead_of(file)}")
    try:
        model = _model(view)
    except MalformedError as error:
        from torchless.model.missing import export_of

        raise ArtifactDamagedError(
            f"{file} is not an ONNX model, or is damaged or truncated ({error}); {export_of(file)}"
        ) from None
    if not model.ir_version or not model.opsets or model.graph is None:
        raise ArtifactDamagedError(
            f"{file} is not an ONNX model, or is truncated: it has no graph; export or copy it again"
        )
    locations = tuple(sorted(model.locations))
    return OnnxFile(
        file, len(view), model.ir_version, model.producer, model.opsets, model.metadata, model.graph, locations, held
    )


class _Model:
    def __init__(self) -> None:
        self.ir_version = 0
        self.producer = ""
        self.opsets: dict[str, int] = {}
        self.metadata: dict[str, str] = {}
        self.graph: Graph | None = None
        self.locations: list[str] = []


def _model(view: memoryview) -> _Model:
    model = _Model()
    for number, value in fields_of(view):
        match number:
            case 1:
                model.ir_version = integer(value)
            case 2:
                model.producer = text(value)
            case 7:
                if model.graph is not None:  # which other readers would merge
                    raise MalformedError("it has two graphs")
                model.graph = _graph(message(value), model.locations)
            case 8:
                opset = dict(fields_of(message(value)))
                model.opsets[text(opset.get(1, _NO_BYTES)) or "ai.onnx"] = integer(opset.get(2, 0))
            case 14:
                key, content = _pair(value)
                model.metadata[key.decode(errors="replace")] = content.decode(errors="replace")
            case 20:
                model.locations += _locations(message(value), "training")
            case 25:
                model.locations += _locations(message(value), "function")
    return model


def _graph(view: memoryview, locations: list[str]) -> Graph:
    operators, initializers, inputs, outputs = [], [], [], []
    for number, value in fields_of(view):
        match number:
            case 1:
                operators.append(_operator(message(value)))
                locations += _locations(message(value), "node")
            case 5:
                initializers.append(_initializer(message(value)))
                locations += _locations(message(value), "tensor")
            case 11:
                inputs.append(_tensor_type(message(value)))
            case 12:
                outputs.append(_tensor_type(message(value)))
            case 15:
                locations += _locations(message(value), "sparse")
    stored = {weight.name for weight in initializers}  # before IR version 4 they were listed as inputs too
    given = tuple(tensor for tensor in inputs if tensor.name not in stored)
    return Graph(tuple(operators), tuple(initializers), given, tuple(outputs))


_LONGEST_SEARCHED = 1 << 16


def _locations(view: memoryview, kind: str, depth: int = 0) -> Iterator[str]:
    """The files that tensors in a message of that kind are kept in."""
    if len(view) <= _LONGEST_SEARCHED and b"location" not in bytes(view):  # nearly always the case: avoids the walk
        return
    if depth > _MOST_NESTED:
        raise MalformedError(f"its graphs are nested more than {_MOST_NESTED} deep")
    if kind == "tensor":
        pairs = [_pair(value) for number, value in fields_of(view) if number == _EXTERNAL_DATA]
        yield from (fsdecode(name) for key, name in pairs if key == b"location")
        return
    inner = _FIELDS[kind]
    for number, value in fields_of(view):
        if number in inner:
            yield from _locations(message(value), inner[number], depth + 1)


def _operator(view: memoryview) -> str:
    return next((text(value) for number, value in fields_of(view) if number == 4), "")


def _initializer(view: memoryview) -> Initializer:
    name, shape, stored_outside, location = "", [], False, ""
    for number, value in fields_of(view):
        match number:
            case 1:
                shape += integers(value)
            case 8:
                name = text(value)
            case 13:
                key, content = _pair(value)
                location = fsdecode(content) if key == b"location" else location
            case 14:
                stored_outside = integer(value) == _EXTERNAL
    return Initializer(name, tuple(shape), location if stored_outside else None)


def _tensor_type(view: memoryview) -> TensorType:
    name, shape = "", None
    for number, value in fields_of(view):
        if number == 1:
            name = text(value)
        elif number == 2:
            tensor = dict(fields_of(message(value))).get(1)
            dimensions = dict(fields_of(message(tensor))).get(2) if tensor is not None else None
            shape = tuple(_dimension(d) for _, d in fields_of(message(dimensions))) if dimensions is not None else None
    return TensorType(name, shape)


def _dimension(value: Value) -> int | str | None:
    given = dict(fields_of(message(value)))
    if 1 in given:
        return integer(given[1])
    return text(given[2]) if 2 in given else None


def _pair(value: Value) -> tuple[bytes, bytes]:
    """A StringStringEntryProto: its key and its value."""
    pair = dict(fields_of(message(value)))
    return bytes(message(pair.get(1, _NO_BYTES))), bytes(message(pair.get(2, _NO_BYTES)))
