"""TIFF: a tile or strip is unpacked as a whole, however little of it is inside of the image, and many of them may name
the same bytes of the file.
"""

import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from torchless.image.limits.directory import Directory, first_directory, read_directory
from torchless.image.limits.pixels import check_overlap, check_passes, check_pixels, refuse_parts

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _SAMPLES, _ROWS, _PLANES = 256, 257, 258, 259, 277, 278, 284
_STRIPS, _STRIP_BYTES, _TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES = 273, 279, 322, 323, 324, 325
_SUBDIRECTORIES = (34665, 34853, 40965)  # EXIF, GPS, interoperability: Pillow reads them when it has the pixels
_UNCOMPRESSED, _JPEGS = 1, (6, 7)
_PIECES, _JPEG_PIECES, _SCANS = 200_000, 50_000, 1_000_000
_READ_AGAIN, _FREE_BYTES = 4, 1 << 20
_START_OF_SCAN = re.compile(rb"\xff\xda")


class _Pieces(NamedTuple):
    """The tiles or strips of an image: size of one in pixels, their number, its samples, and where their bytes are."""

    width: int
    height: int
    number: int
    samples: int
    places: NDArray[np.uint64]
    sizes: NDArray[np.uint64]


def check_tiff(data: bytes, max_pixels: int) -> None:
    """Raises ImageTooLargeError for a TIFF file whose first image would take too much time or memory."""
    form, position = first_directory(data)
    tags = read_directory(data, position, form)
    for tag in _SUBDIRECTORIES:
        for place in tags.integers(tag)[:1]:
            read_directory(data, int(place), form)
    width, height = tags.integer(_WIDTH, 0), tags.integer(_HEIGHT, 0)
    check_pixels(width, height, max_pixels, "the image has")
    if width == 0 or height == 0:
        return
    compression = tags.integer(_COMPRESSION, _UNCOMPRESSED)
    pieces = _pieces(tags, width, height)
    limit = _JPEG_PIECES if compression in _JPEGS else _PIECES
    if pieces.number > limit:
        raise refuse_parts("tiles or strips", limit)
    area = pieces.width * pieces.height
    bits = int(tags.integers(_BITS).max(initial=1)) * pieces.samples
    check_overlap(area * pieces.number, area * bits // 8, max_pixels)
    if compression != _UNCOMPRESSED:
        _check_reading(data, pieces)
    if compression in _JPEGS:
        _check_scans(data, pieces, max_pixels)


def _pieces(tags: Directory, width: int, height: int) -> _Pieces:
    samples = max(1, tags.integer(_SAMPLES, 1), tags.integers(_BITS).size)
    planes = samples if tags.integer(_PLANES, 1) == 2 else 1
    if _TILE_WIDTH in tags.tags or _TILES in tags.tags:
        size = tags.integer(_TILE_WIDTH, width), tags.integer(_TILE_HEIGHT, height)
        places, sizes = tags.integers(_TILES), tags.integers(_TILE_BYTES)
    else:
        size = width, min(height, tags.integer(_ROWS, height) or height)
        places, sizes = tags.integers(_STRIPS), tags.integers(_STRIP_BYTES)
    across, down = max(1, size[0]), max(1, size[1])
    number = -(-width // across) * -(-height // down) * planes
    return _Pieces(across, down, number, samples // planes, places, sizes)


def _ends(data: bytes, pieces: _Pieces) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where each piece begins and ends in the file; one whose size is not said may have the rest of it."""
    count = min(pieces.number, pieces.places.size)
    begins = np.minimum(pieces.places[:count], len(data)).astype(np.int64)
    sizes = np.full(count, len(data), np.int64)
    known = np.minimum(pieces.sizes[:count], len(data)).astype(np.int64)
    sizes[: known.size] = np.where(known > 0, known, len(data))
    return begins, np.minimum(begins + sizes, len(data))


def _check_reading(data: bytes, pieces: _Pieces) -> None:
    begins, ends = _ends(data, pieces)
    if int((ends - begins).sum()) > _READ_AGAIN * len(data) + _FREE_BYTES:
        raise refuse_parts("bytes in its tiles or strips, which overlap", _READ_AGAIN * len(data) + _FREE_BYTES)


def _check_scans(data: bytes, pieces: _Pieces, max_pixels: int) -> None:
    if data.count(b"\xff\xda") > _SCANS:
        raise refuse_parts("scans", _SCANS)
    scans = np.array([match.start() for match in _START_OF_SCAN.finditer(data)], np.int64)
    begins, ends = _ends(data, pieces)
    inside = np.searchsorted(scans, ends) - np.searchsorted(scans, begins)
    check_passes(pieces.width * pieces.height, int(inside.sum()), max_pixels, "scans in its tiles or strips")
