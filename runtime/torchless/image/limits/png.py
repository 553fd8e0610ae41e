"""PNG: chunks, each of which Pillow reads in Python, and those with compressed text and profiles (PNG, third
edition).
"""

from torchless.image.limits.directory import check_exif
from torchless.image.limits.pixels import check_pixels, refuse_parts

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHUNKS, _COMPRESSED_CHUNKS = 100_000, 100
_COMPRESSED = frozenset((b"iCCP", b"zTXt", b"iTXt"))  # each is unpacked to at most a megabyte


def check_png(data: bytes, max_pixels: int) -> None:
    """Raises ImageTooLargeError for a PNG file that would take too much time or memory."""
    check_pixels(*png_size(data), max_pixels, "the image has")
    position, compressed = len(SIGNATURE), 0
    for _ in range(_CHUNKS):
        kind = data[position + 4 : position + 8]
        if len(kind) < 4:
            return
        size = int.from_bytes(data[position : position + 4], "big")
        compressed += kind in _COMPRESSED
        if compressed > _COMPRESSED_CHUNKS:
            raise refuse_parts("chunks of compressed text or profiles", _COMPRESSED_CHUNKS)
        if kind == b"eXIf":
            check_exif(data[position + 8 : position + 8 + size])
        position += size + 12
    raise refuse_parts("chunks", _CHUNKS)


def png_size(data: bytes) -> tuple[int, int]:
    """The width and height in the header of a PNG file."""
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
