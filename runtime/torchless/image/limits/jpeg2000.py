"""JPEG 2000: much memory for each pixel, and tables for parts of the image that may be a single pixel each
(ISO/IEC 15444-1, annex A).
"""

import re
import struct
from collections.abc import Iterator
from itertools import islice

from torchless.image.limits.pixels import check_costly, check_pixels, refuse_parts

# OpenJPEG takes 28 bytes for a pixel of three colours, seven times as many as other decoders, and its time.
_PART = 4
_CODESTREAM = re.compile(rb"\xff\x4f\xff\x51")
_SIZES = struct.Struct(">8IH")
_COD, _COC, _SOT, _SOD = 0x52, 0x53, 0x90, 0x93
_CODESTREAMS, _SEGMENTS, _TILES, _PACKETS, _BLOCKS = 10, 1_000, 10_000, 1_000_000, 2_000_000
_LAST_LEVEL = 32


def check_jpeg_2000(data: bytes, max_pixels: int) -> None:
    """Raises ImageTooLargeError for a JPEG 2000 file that would take too much time or memory."""
    for match in islice(_CODESTREAM.finditer(data), _CODESTREAMS):
        if match.end() + 2 + 2 + _SIZES.size <= len(data):
            _check_codestream(data, match.end(), max_pixels)


def _check_codestream(data: bytes, position: int, max_pixels: int) -> None:
    right, bottom, left, top, across, down, *_, components = _SIZES.unpack_from(data, position + 4)
    width, height = max(0, right - left), max(0, bottom - top)
    check_pixels(width, height, max_pixels, "the image has")
    check_costly(-(-width * max(3, components) // 3), height, max_pixels, _PART, "JPEG 2000 takes much memory")
    tiles = -(-width // max(1, across)) * -(-height // max(1, down))
    if tiles > _TILES:
        raise refuse_parts("tiles", _TILES)
    layers = 1
    for marker, body in _segments(data, position):
        if marker == _COD and len(body) >= 10:
            layers = max(layers, int.from_bytes(body[2:4], "big"))
            levels, block, sizes = body[5], body[6:8], body[10:] if body[0] & 1 else b""
        elif marker == _COC and len(body) >= 7:
            skip = 1 if components < 257 else 2
            levels, block, sizes = body[skip + 1], body[skip + 2 : skip + 4], body[skip + 6 :]
            sizes = sizes if body[skip] & 1 else b""
        else:
            continue
        area = width * height * max(1, components)
        if area >> (sum(side & 15 for side in block) + 4) > _BLOCKS:
            raise refuse_parts("blocks", _BLOCKS)
        packets = (
            tiles
            * layers
            * max(1, components)
            * sum(_precincts(width, height, min(levels, _LAST_LEVEL) - level, size) for level, size in enumerate(sizes))
        )
        if packets > _PACKETS or tiles * layers > _PACKETS:
            raise refuse_parts("packets", _PACKETS)


def _precincts(width: int, height: int, halvings: int, size: int) -> int:
    """Into how many parts a level is divided, at least: `size` has the exponents of their width and height."""
    halvings = max(0, halvings)
    return (-(-width >> halvings + (size & 15)) or 1) * (-(-height >> halvings + (size >> 4)) or 1)


def _segments(data: bytes, position: int) -> Iterator[tuple[int, bytes]]:
    """The segments of the main header after the first, as (marker, body), up to the first tile."""
    for _ in range(_SEGMENTS):
        size = int.from_bytes(data[position : position + 2], "big")
        position += max(2, size)
        head = data[position : position + 2]
        if len(head) < 2 or head[0] != 0xFF or head[1] in (_SOT, _SOD):
            return
        size = int.from_bytes(data[position + 2 : position + 4], "big")
        yield head[1], data[position + 4 : position + 2 + size]
        position += 2
    raise refuse_parts("segments", _SEGMENTS)
