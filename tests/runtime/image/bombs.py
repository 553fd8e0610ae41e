"""Small files that ask a decoder for much time or memory, built byte by byte; and TIFF files with any tags."""

import struct
import zlib
from collections.abc import Iterable

SOI, EOI, PROGRESSIVE, SEQUENTIAL = b"\xff\xd8", b"\xff\xd9", 0xC2, 0xC0
SHORT, LONG = 3, 4
UNCOMPRESSED, JPEG, DEFLATE, PACKBITS = 1, 7, 8, 32773
PNG_SIGNATURE, IEND = b"\x89PNG\r\n\x1a\n", (b"IEND", b"")


def segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body


def jpeg(
    width: int, height: int, scans: int, *, kind: int = PROGRESSIVE, before: bytes = b"", after: bytes = b""
) -> bytes:
    """A grey JPEG whose scans hold nothing, with more segments before the first and after the last."""
    table = bytes((0, 1, *bytes(14), 0))
    parts = [
        SOI,
        before,
        segment(0xDB, b"\0" + b"\1" * 64),
        segment(kind, struct.pack(">BHHB", 8, height, width, 1) + b"\1\x11\0"),
    ]
    parts += [segment(0xC4, bytes((where,)) + table) for where in (0, 0x10)]
    first = bytes((1, 1, 0, 0, 0, 1)) if kind == PROGRESSIVE else bytes((1, 1, 0, 0, 63, 0))
    again = bytes((1, 1, 0, 0, 0, 0x10)) if kind == PROGRESSIVE else first
    return b"".join([*parts, *(segment(0xDA, again if number else first) for number in range(scans)), EOI, after])


def exif(entries: int, size: int) -> bytes:
    """A JPEG segment of EXIF data whose tags all name the same `size` bytes."""
    tags = b"".join(struct.pack("<HHII", number + 1, 1, size, 8) for number in range(entries))
    return segment(0xE1, b"Exif\0\0II*\0" + struct.pack("<IH", 8, entries) + tags + bytes(4))


def tiff(tags: dict[int, int | Iterable[int]], *parts: bytes, order: str = "<") -> bytes:
    """A grey TIFF file of a pixel with these tags; {part: number} where a value is -1 - number: where that part is."""
    all_tags = {256: 1, 257: 1, 258: 8, 259: UNCOMPRESSED, 262: 1, 277: 1, **tags}
    lists = {tag: value for tag, value in all_tags.items() if not isinstance(value, int)}
    start = 8 + 2 + 12 * len(all_tags) + 4
    packed = {
        tag: struct.pack(f"{order}{len(list(values))}I", *_placed(values, parts, start))
        for tag, values in lists.items()
    }
    places, at = {}, start + sum(map(len, parts))
    for tag, values in packed.items():
        places[tag], at = at, at + len(values)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(all_tags))
    for tag, value in sorted(all_tags.items()):
        count, number = (len(packed[tag]) // 4, places[tag]) if tag in packed else (1, *_placed([value], parts, start))
        head += struct.pack(f"{order}HHII", tag, LONG, count, number)
    return head + bytes(4) + b"".join(parts) + b"".join(packed.values())


def _placed(values: Iterable[int], parts: tuple[bytes, ...], start: int) -> list[int]:
    return [value if value >= 0 else start + sum(map(len, parts[: -1 - value])) for value in values]


def png(
    *chunks: tuple[bytes, bytes],
    width: int = 1,
    height: int = 1,
    bits: int = 8,
    colour: int = 0,
    rows: bytes = bytes(100),
) -> bytes:
    """A PNG with more chunks before its pixels; grey by default, and short of rows if it is large."""
    header = b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return PNG_SIGNATURE + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in (header, *chunks, (b"IDAT", zlib.compress(rows)), IEND)
    )


def gif(before: bytes = b"", *, screen: tuple[int, int] = (1, 1), frame: tuple[int, int] = (1, 1)) -> bytes:
    picture = b"," + struct.pack("<HHHHB", 0, 0, *frame, 0) + b"\2\2\x44\1\0;"
    return b"GIF89a" + struct.pack("<HH", *screen) + bytes(3) + before + picture


def icon(picture: bytes) -> bytes:
    return b"\0\0\1\0\1\0" + struct.pack("<BBBBHHII", 0, 0, 0, 0, 1, 32, len(picture), 22) + picture


def bitmap(width: int, height: int, compression: int = 0) -> bytes:
    return struct.pack("<IIIHHIIIIII", 40, width, height, 1, 8, compression, 0, 0, 0, 0, 0) + bytes(2000)


def jpeg_2000(
    width: int,
    height: int,
    *,
    components: int = 1,
    tile: int = 1 << 31,
    layers: int = 1,
    precincts: bytes = b"",
    block: int = 4,
) -> bytes:
    """The headers of a codestream."""
    size = struct.pack(">HIIIIIIIIH", 0, width, height, 0, 0, tile, tile, 0, 0, components) + b"\7\1\1" * components
    style = bytes((bool(precincts),)) + struct.pack(
        ">BHBBBBBB", 0, layers, 0, max(0, len(precincts) - 1), block, block, 0, 1
    )
    return b"\xff\x4f" + segment(0x51, size) + segment(0x52, style + precincts) + segment(0x90, bytes(8)) + b"\xff\x93"
