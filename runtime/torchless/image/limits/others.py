"""GIF, WebP and icons: what Pillow allocates or goes through before it says how large an image is."""

from collections.abc import Iterator
from math import ceil, log2

from torchless.image.limits.pixels import check_pixels, check_python, refuse_parts
from torchless.image.limits.png import SIGNATURE, check_png

_GIF_BLOCKS, _ICONS = 100_000, 1_000
_COMMENT = b"\xfe"
_RUN_LENGTH = (1, 2)  # the compressions of a bitmap that are decoded in Python


def check_gif(data: bytes, max_pixels: int) -> None:
    """Raises ImageTooLargeError for a GIF whose first frame is too large, or behind too many blocks."""
    position = 0
    for number, at in enumerate(_gif_blocks(data)):
        position = at
        if number == _GIF_BLOCKS:
            raise refuse_parts("blocks before its first frame", _GIF_BLOCKS)
    width, height = _little(data, 6, 2), _little(data, 8, 2)
    if data[position : position + 1] == b",":
        left, top, across, down = (_little(data, position + offset, 2) for offset in (1, 3, 5, 7))
        width, height = max(width, left + across), max(height, top + down)
    check_pixels(width, height, max_pixels, "the image has")


def _gif_blocks(data: bytes) -> Iterator[int]:
    """Where each block before the first frame begins, as Pillow reads them; at last that frame, or the end."""
    position = 13 + (3 << (data[10] & 7) + 1 if len(data) > 10 and data[10] & 0x80 else 0)
    while True:
        yield position
        kind = data[position : position + 1]
        if kind in (b",", b";", b""):
            return
        if kind != b"!":
            position += 1
            continue
        reads_on = data[position + 1 : position + 2] != _COMMENT  # after an empty first block
        position += 2
        while position < len(data) and (data[position] or reads_on):
            position, reads_on = position + 1 + data[position], False
            yield position
        position += 1


def check_webp(data: bytes, max_pixels: int) -> None:
    """Raises ImageTooLargeError for a WebP file whose canvas is too large: Pillow allocates it at once."""
    match data[12:16]:
        case b"VP8X":
            size = _little(data, 24, 3) + 1, _little(data, 27, 3) + 1
        case b"VP8L":
            bits = _little(data, 21, 4)
            size = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case _:
            size = _little(data, 26, 2) & 0x3FFF, _little(data, 28, 2) & 0x3FFF
    check_pixels(*size, max_pixels, "the image has")


def check_icon(data: bytes, max_pixels: int) -> None:
    """Raises ImageTooLargeError for an icon whose largest picture is too large: Pillow decodes it at once."""
    count = _little(data, 4, 2)
    if count > _ICONS:
        raise refuse_parts("pictures", _ICONS)
    heads = [data[at : at + 16] for at in range(6, 6 + 16 * count, 16)]
    whole = [head for head in heads if len(head) == 16]
    if not whole:
        return
    place = _little(min(whole, key=_icon_order), 12, 4)  # the first of those that are largest
    if data[place : place + 8] == SIGNATURE:
        check_png(data[place:], max_pixels)
        return
    wide = _little(data, place, 4) != 12
    width, height = (_little(data, place + 4 + (4 if wide else 2) * axis, 4 if wide else 2) for axis in (0, 1))
    check_pixels(width, min(height, (1 << 32) - height), max_pixels, "the icon's bitmap has")
    if wide and _little(data, place + 16, 4) in _RUN_LENGTH:
        check_python(width, height, max_pixels, "a bitmap with run lengths")


def _icon_order(head: bytes) -> tuple[int, int]:
    """What Pillow sorts an icon's pictures by."""
    colours, bits = head[2], _little(head, 6, 2)
    return -(head[0] or 256) * (head[1] or 256), bits or (colours and ceil(log2(colours))) or 256


def _little(data: bytes, position: int, size: int) -> int:
    return int.from_bytes(data[position : position + size], "little")
