"""JPEG: each scan of a progressive image goes through all of its pixels, and takes ten bytes of the file.

The order of the segments is that of libjpeg and of Pillow (ITU-T T.81, B.1).
"""

import re

from torchless.errors import ImageTooLargeError
from torchless.image.limits.directory import check_exif
from torchless.image.limits.pixels import check_passes, check_pixels, refuse_parts

_SEGMENTS, _JUNK_BYTES, _EXIF_SEGMENTS = 10_000, 100_000, 100
_BLOCK = 32  # the widest unit that is decoded, in pixels: a narrow image is decoded as if it were so wide
_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SEQUENTIAL = frozenset({0xC0, 0xC1, 0xC3, 0xC9})
_SOS, _EOI = 0xDA, 0xD9
_BARE = frozenset({0x01, *range(0xD0, 0xDA)})  # markers without a length
_HEADER_MARKER = re.compile(rb"\xff[\x01-\xfe]")
_SCAN_MARKER = re.compile(rb"\xff[^\x00\x01\xff\xd0-\xd7]")  # what ends the data of a scan


def check_jpeg(data: bytes, max_pixels: int) -> None:
    """Raises ImageTooLargeError for a JPEG file that would take too much time or memory."""
    width, height, components, kind, scan = _header(data)
    check_pixels(width, height, max_pixels, "the image has")
    if kind in _SEQUENTIAL and data[scan + 4 : scan + 5] == bytes((components,)):
        return  # the first scan has all components, and there is no second
    pixels = -(-width // _BLOCK) * -(-height // _BLOCK) * _BLOCK**2
    try:
        check_passes(pixels, count_scans(data, scan), max_pixels, "scans")
    except ImageTooLargeError:  # that counted what follows the image too, or is inside of other segments
        check_passes(pixels, _count_exactly(data, scan), max_pixels, "scans")


def count_scans(data: bytes, start: int = 0) -> int:
    """At least as many scans as there are from `start` on."""
    return data.count(b"\xff\xda", start)


def _header(data: bytes) -> tuple[int, int, int, int, int]:
    """Width, height, components, the SOF marker, and where the first scan begins; zeros for what is missing."""
    position, junk, found = 2, 0, (0, 0, 0, 0)
    exif: list[bytes] = []
    for _ in range(_SEGMENTS):
        match = _HEADER_MARKER.search(data, position)
        junk += (match.start() if match else len(data)) - position
        if junk > _JUNK_BYTES:
            raise refuse_parts("bytes between its segments", _JUNK_BYTES)
        if match is None or data[match.start() + 1] == _SOS:
            check_exif(b"".join(exif))
            return *found, match.start() if match else len(data)
        marker, position = data[match.start() + 1], match.end()
        if marker in _BARE:
            continue
        body = data[position + 2 : position + 12]
        if marker in _SOF and len(body) >= 6:
            height, width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
            found = max(found[0], width), max(found[1], height), body[5], marker
        size = int.from_bytes(data[position : position + 2], "big")
        if marker == 0xE1 and body.startswith(b"Exif\0\0"):
            exif.append(data[position + (8 if exif else 2) : position + size])
            if len(exif) > _EXIF_SEGMENTS:
                raise refuse_parts("segments of EXIF data", _EXIF_SEGMENTS)
        position += max(2, size)
    raise refuse_parts("segments", _SEGMENTS)


def _count_exactly(data: bytes, position: int) -> int:
    """The scans of the image itself: thumbnails and what follows its end are left out."""
    scans = 0
    for _ in range(_SEGMENTS * 10):
        match = _SCAN_MARKER.search(data, position)
        if match is None or data[match.end() - 1] == _EOI:
            return scans
        scans += data[match.end() - 1] == _SOS
        position = match.end() + int.from_bytes(data[match.end() : match.end() + 2], "big")
    raise refuse_parts("segments", _SEGMENTS * 10)
