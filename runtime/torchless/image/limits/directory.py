"""TIFF's directories of tags, which EXIF data consists of too (TIFF 6.0, page 14; BigTIFF).

A tag names a place and a length in the file. Many tags that name the same large place make a small file large, for
whoever reads all of them.
"""

import re
import struct
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from torchless.image.limits.pixels import refuse_parts

_ENTRIES, _FREE_BYTES = 4096, 1 << 16
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_INTEGERS = {1: "u1", 3: "u2", 4: "u4", 6: "u1", 8: "u2", 9: "u4", 13: "u4", 16: "u8", 17: "u8", 18: "u8"}
_EXIF_PREFIX = re.compile(rb"(?:Exif\0\0){0,2}")


class Form(NamedTuple):
    """The byte order of a file, "<" or ">", and whether it is BigTIFF."""

    order: str
    big: bool


class Directory(NamedTuple):
    """The tags of a directory: of each the type, the number of values, and where they are in the file."""

    data: bytes
    form: Form
    tags: dict[int, tuple[int, int, int]]

    def integers(self, tag: int) -> NDArray[np.uint64]:
        """A tag's values; none if it is missing, outside of the file, or not of integers."""
        kind, count, place = self.tags.get(tag, (0, 0, 0))
        if kind not in _INTEGERS or place + count * _SIZES[kind] > len(self.data):
            return np.zeros(0, np.uint64)
        values = np.frombuffer(self.data, f"{self.form.order}{_INTEGERS[kind]}", count, place)
        return values.astype(np.uint64)

    def integer(self, tag: int, default: int) -> int:
        """A tag's first value."""
        values = self.integers(tag)
        return int(values[0]) if values.size else default


def check_exif(block: bytes) -> None:
    """Raises ImageTooLargeError for EXIF data that is far larger when it is read."""
    data = block[_EXIF_PREFIX.match(block).end() :]  # type: ignore[union-attr]  # it always matches
    form, position = first_directory(data)
    read_directory(data, position, form)


def first_directory(data: bytes) -> tuple[Form, int]:
    """The form of a TIFF file, and where its first directory is; the form that Pillow takes a damaged header for."""
    order = ">" if data[:2] == b"MM" else "<"
    big = data[2:3] == b"+"
    start, size = (8, 8) if big else (4, 4)
    return Form(order, big), int.from_bytes(data[start : start + size], "big" if order == ">" else "little")


def read_directory(data: bytes, position: int, form: Form) -> Directory:
    """The directory at `position`; what is outside of the file is left out. The first of two equal tags counts.

    Raises ImageTooLargeError for more tags, or more bytes in all tags, than any program writes.
    """
    head, entry = (8, struct.Struct(f"{form.order}HHQ")) if form.big else (2, struct.Struct(f"{form.order}HHL"))
    inline = 8 if form.big else 4
    pointer = struct.Struct(f"{form.order}{'Q' if form.big else 'L'}")
    count = int.from_bytes(data[position : position + head], "big" if form.order == ">" else "little")
    position, step, total = position + head, entry.size + inline, 0
    tags: dict[int, tuple[int, int, int]] = {}
    for number in range(min(count, max(0, len(data) - position) // step)):
        if number == _ENTRIES:
            raise refuse_parts("tags", _ENTRIES)
        tag, kind, values = entry.unpack_from(data, position)
        size = values * _SIZES.get(kind, 0)
        place = position + entry.size
        if size > inline:
            (place,) = pointer.unpack_from(data, place)
            total += size if place + size <= len(data) else 0
        tags.setdefault(tag, (kind, values, place))
        position += step
    if total > 2 * len(data) + _FREE_BYTES:
        raise refuse_parts("bytes in its tags", 2 * len(data) + _FREE_BYTES)
    return Directory(data, form, tags)
