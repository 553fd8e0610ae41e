"""Protobuf messages, field by field (protobuf.dev/programming-guides/encoding): what ONNX files are written in.

It refuses what other readers understand in another way: a model must not show us one thing, and ONNX Runtime another.
"""

from collections.abc import Iterator

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MOST_TAG = 1 << 32
_ONE_BYTE = 0x80  # a number below it is written as one byte

# A number, a message or text, or four or eight bytes, which no field that we read consists of.
Value = int | memoryview | bytes


class MalformedError(Exception):
    """The bytes are no protobuf message of the expected kind."""


def fields_of(view: memoryview) -> Iterator[tuple[int, Value]]:
    """The (field number, value) pairs of a message, in the order of the file."""
    position, end = 0, len(view)
    while position < end:
        if (key := view[position]) < _ONE_BYTE:  # nearly always the case
            position += 1
        else:
            key, position = _varint(view, position)
        number, wire_type = key >> 3, key & 7
        if number == 0 or key >= _MOST_TAG:  # some readers stop there, or drop the bits above
            raise MalformedError(f"there is no field {number}")
        value: Value
        if wire_type == _VARINT:
            value, position = _varint(view, position)
        else:
            if wire_type == _BYTES and position < end and (length := view[position]) < _ONE_BYTE:
                position += 1
            else:
                length, position = _length(view, position, wire_type)
            if position + length > end:
                raise MalformedError(f"field {number} runs past the end of its message")
            value, position = view[position : position + length], position + length
            if wire_type != _BYTES:
                value = bytes(value)
        yield number, value


def _length(view: memoryview, position: int, wire_type: int) -> tuple[int, int]:
    if wire_type == _BYTES:
        return _varint(view, position)
    if wire_type not in (_FIXED64, _FIXED32):
        raise MalformedError(f"unknown wire type {wire_type}")
    return (8 if wire_type == _FIXED64 else 4), position


def _varint(view: memoryview, position: int) -> tuple[int, int]:
    result = 0
    for shift in range(0, 70, 7):
        if position >= len(view):
            raise MalformedError("a number runs past the end of its message")
        byte = view[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < _ONE_BYTE:
            return result, position
    raise MalformedError("a number of more than ten bytes")


def integers(value: Value) -> list[int]:
    """A repeated integer field: one number, or several packed together."""
    if isinstance(value, int):
        return [value]
    value, numbers, position = message(value), [], 0
    while position < len(value):
        number, position = _varint(value, position)
        numbers.append(number)
    return numbers


def integer(value: Value) -> int:
    if not isinstance(value, int):
        raise MalformedError("a number was expected")
    return value


def message(value: Value) -> memoryview:
    if not isinstance(value, memoryview):
        raise MalformedError("a message was expected")
    return value


def text(value: Value) -> str:
    return bytes(message(value)).decode("utf-8", errors="replace")
