"""Reads ONNX files without the onnx package: the header, the metadata, and the graph's shape, but never the weights.

ONNX files are protobuf messages (onnx/onnx.proto gives the field numbers; protobuf.dev/programming-guides/encoding the wire format). Only
the fields named here are read; a file is mapped, not loaded, so that reading a manifest costs the same for 1 MB and for 1 GB.
"""

import math
import mmap
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from os import PathLike, fspath
from pathlib import Path
from typing import TypeVar

from torchless.errors import ArtifactDamagedError, ArtifactError, ArtifactNotFoundError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_EXTERNAL = 1

Value = int | memoryview
T = TypeVar("T")


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

    @property
    def data_files(self) -> tuple[str, ...]:
        """The files beside the model file that hold weights of it, by name."""
        return tuple(sorted({weight.location for weight in self.initializers if weight.location is not None}))


@dataclass(frozen=True)
class HeldFiles:
    """The bytes of a model file and, by name, of its data files: read once, so that what was checked is what is loaded."""

    content: bytes = field(repr=False)
    data: Mapping[str, bytes] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class OnnxFile:
    """An ONNX file's header, metadata and, if it was asked for, graph. `file_size` is in bytes. `held` is what it was read from, where that
    was not the file at `path`.
    """

    path: Path
    file_size: int
    ir_version: int
    producer: str
    opsets: dict[str, int]
    metadata: dict[str, str]
    graph: Graph | None
    held: HeldFiles | None = None


def read_onnx(path: str | PathLike[str], *, with_graph: bool, held: HeldFiles | None = None) -> OnnxFile:
    """Reads the file at `path`, or what is `held` of it. Raises ArtifactNotFoundError, or ArtifactDamagedError when it is truncated or no
    ONNX model.
    """
    file = Path(path)
    if held is not None:
        return replace(_parse_file(file, len(held.content), memoryview(held.content), with_graph), held=held)
    return _mapped(file, lambda size, view: _parse_file(file, size, view, with_graph))


def read_fields(path: Path, read: Callable[[memoryview], Iterable[T]], *, held: HeldFiles | None = None) -> list[T]:
    """What `read` finds in the bytes of the file at `path`, or of what is `held` of it, by fields_of. Raises what read_onnx does."""

    def parse(_: int, view: memoryview) -> list[T]:
        try:
            return list(read(view))
        except (_MalformedError, ArtifactDamagedError) as error:
            raise _damaged(path, error) from None

    return _mapped(path, parse) if held is None else parse(len(held.content), memoryview(held.content))


def _mapped(file: Path, parse: Callable[[int, memoryview], T]) -> T:
    try:
        with file.open("rb") as stream:
            size = file.stat().st_size
            if size == 0:
                raise ArtifactDamagedError(f"{file} is empty; export the model again")
            # Not closed by hand: that fails while a slice of it is alive, and the last slice takes it along.
            return parse(size, memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)))
    except FileNotFoundError:
        raise ArtifactNotFoundError(f"there is no file {fspath(file)}; make it with: torchless export {file.stem or 'MODEL'}") from None
    except IsADirectoryError:
        raise ArtifactNotFoundError(f"{fspath(file)} is a folder, not an ONNX file") from None
    except (OSError, ValueError) as error:
        if isinstance(error, ArtifactError):
            raise
        raise ArtifactNotFoundError(f"cannot read {fspath(file)!r}: {error}") from None


def _damaged(file: Path, why: object) -> ArtifactDamagedError:
    return ArtifactDamagedError(f"{file} is not an ONNX model, or is damaged or truncated ({why}); export or copy it again")


def _parse_file(file: Path, size: int, view: memoryview, with_graph: bool) -> OnnxFile:
    try:
        found = _model(view, with_graph)
    except _MalformedError as error:
        raise _damaged(file, error) from None
    if not found.ir_version or not found.opsets or not found.has_graph:
        raise ArtifactDamagedError(f"{file} is not an ONNX model, or is truncated: it has no graph; export or copy it again")
    return OnnxFile(file, size, found.ir_version, found.producer, found.opsets, found.metadata, found.graph)


class _MalformedError(Exception):
    """The bytes are no protobuf message of the expected kind."""


class _Model:
    def __init__(self) -> None:
        self.ir_version = 0
        self.producer = ""
        self.opsets: dict[str, int] = {}
        self.metadata: dict[str, str] = {}
        self.has_graph = False
        self.graph: Graph | None = None


def _model(view: memoryview, with_graph: bool) -> _Model:
    model = _Model()
    for number, value in fields_of(view):
        match number:
            case 1:
                model.ir_version = _int(value)
            case 2:
                model.producer = _text(value)
            case 7:
                model.has_graph = True
                model.graph = _graph(_bytes(value)) if with_graph else None
            case 8:
                opset = dict(fields_of(_bytes(value)))
                model.opsets[_text(opset.get(1, memoryview(b""))) or "ai.onnx"] = _int(opset.get(2, 0))
            case 14:
                model.metadata.update([_pair(value)])
    return model


def _graph(view: memoryview) -> Graph:
    operators, initializers, inputs, outputs = [], [], [], []
    for number, value in fields_of(view):
        match number:
            case 1:
                operators.append(_operator(_bytes(value)))
            case 5:
                initializers.append(_initializer(_bytes(value)))
            case 11:
                inputs.append(_tensor_type(_bytes(value)))
            case 12:
                outputs.append(_tensor_type(_bytes(value)))
    stored = {weight.name for weight in initializers}  # before IR version 4 they were listed as inputs too
    given = tuple(tensor for tensor in inputs if tensor.name not in stored)
    return Graph(tuple(operators), tuple(initializers), given, tuple(outputs))


def _operator(view: memoryview) -> str:
    return next((_text(value) for number, value in fields_of(view) if number == 4), "")


def _initializer(view: memoryview) -> Initializer:
    name, shape, location = "", [], None
    external: dict[str, str] = {}
    for number, value in fields_of(view):
        match number:
            case 1:
                shape += _ints(value)
            case 8:
                name = _text(value)
            case 13:
                external.update([_pair(value)])
            case 14 if value == _EXTERNAL:
                location = ""
    return Initializer(name, tuple(shape), location if location is None else external.get("location", ""))


def _tensor_type(view: memoryview) -> TensorType:
    name, shape = "", None
    for number, value in fields_of(view):
        if number == 1:
            name = _text(value)
        elif number == 2:
            tensor = dict(fields_of(_bytes(value))).get(1)
            dimensions = dict(fields_of(_bytes(tensor))).get(2) if tensor is not None else None
            shape = tuple(_dimension(d) for _, d in fields_of(_bytes(dimensions))) if dimensions is not None else None
    return TensorType(name, shape)


def _dimension(value: Value) -> int | str | None:
    given = dict(fields_of(_bytes(value)))
    if 1 in given:
        return _int(given[1])
    return _text(given[2]) if 2 in given else None


def _pair(value: Value) -> tuple[str, str]:
    pair = dict(fields_of(_bytes(value)))
    return _text(pair.get(1, memoryview(b""))), _text(pair.get(2, memoryview(b"")))


def fields_of(view: memoryview) -> Iterator[tuple[int, Value]]:
    """The (field number, value) pairs of a message, in the order of the file."""
    position, end = 0, len(view)
    while position < end:
        key, position = _varint(view, position)
        number, wire_type = key >> 3, key & 7
        value: Value
        if wire_type == _VARINT:
            value, position = _varint(view, position)
        else:
            length, position = _length(view, position, wire_type)
            if number == 0 or position + length > end:
                raise _MalformedError(f"field {number} runs past the end of its message")
            value, position = view[position : position + length], position + length
        yield number, value


def _length(view: memoryview, position: int, wire_type: int) -> tuple[int, int]:
    if wire_type == _BYTES:
        return _varint(view, position)
    if wire_type not in (_FIXED64, _FIXED32):
        raise _MalformedError(f"unknown wire type {wire_type}")
    return (8 if wire_type == _FIXED64 else 4), position


def _varint(view: memoryview, position: int) -> tuple[int, int]:
    result = 0
    for shift in range(0, 70, 7):
        if position >= len(view):
            raise _MalformedError("a number runs past the end of its message")
        byte = view[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, position
    raise _MalformedError("a number of more than ten bytes")


def _ints(value: Value) -> list[int]:
    """A repeated integer field: one number, or several packed together."""
    if isinstance(value, int):
        return [value]
    numbers, position = [], 0
    while position < len(value):
        number, position = _varint(value, position)
        numbers.append(number)
    return numbers


def _int(value: Value) -> int:
    if not isinstance(value, int):
        raise _MalformedError("a number was expected")
    return value


def _bytes(value: Value) -> memoryview:
    if isinstance(value, int):
        raise _MalformedError("a message was expected")
    return value


def _text(value: Value) -> str:
    return bytes(_bytes(value)).decode("utf-8", errors="replace")
