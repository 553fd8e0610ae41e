"""Changes to image files that know how each format is built: sizes, tiles, strips, scans, chunks, frames, tags."""

import struct
import zlib
from collections.abc import Callable
from random import Random
from typing import Any

from tests.fuzz.mutate import edge, mutated

# Width and height; some are within the limit on pixels, so that all of them are decoded.
_SIZES = (
    (0, 0),
    (1, 1),
    (1, 65_500),
    (65_500, 1),
    (5000, 5000),
    (9_999, 9_999),
    (65_535, 65_535),
    (2**31 - 1, 1),
    (2**31 - 1, 2**31 - 1),
)
_PNG_HEAD, _EOI = 8, b"\xff\xd9"


def changed_header(random: Random, format: str, data: bytes) -> bytes:
    """One change to the structure of a file of that format."""
    return _BY_FORMAT[format](random, data)


def _png(random: Random, data: bytes) -> bytes:
    chunks, position = [], _PNG_HEAD
    while position + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        chunks.append([data[position + 4 : position + 8], data[position + 8 : position + 8 + length]])
        position += 12 + length
    which = random.choice(chunks)
    match random.randrange(7):
        case 0:
            chunks[0][1] = struct.pack(">II", *_unsigned(random)) + chunks[0][1][8:]
        case 1:
            chunks[0][1] = chunks[0][1][:8] + bytes(random.choice((0, 1, 2, 3, 4, 6, 8, 16, 255)) for _ in range(5))
        case 2:
            chunks.remove(which)
        case 3:
            place = random.randrange(len(chunks))
            chunks[place:place] = [which] * random.choice((1, 1, 50, 20_000))
        case 4:
            bomb = zlib.compress(bytes(20_000_000), 9)
            kind, head = random.choice(((b"iCCP", b"x\0\0"), (b"zTXt", b"x\0\0"), (b"iTXt", b"x\0\1\0\0\0")))
            chunks.insert(1, [kind, head + bomb])
        case 5:
            kind = random.choice(
                (b"tRNS", b"PLTE", b"eXIf", b"acTL", b"fcTL", b"fdAT", b"gAMA", b"pHYs", b"sRGB", b"IDAT", b"IEND")
            )
            chunks.insert(random.randrange(len(chunks)), [kind, random.randbytes(random.choice((0, 1, 8, 26, 800)))])
        case _:
            which[1] = mutated(random, which[1] or b"\0")
    return data[:_PNG_HEAD] + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def _jpeg(random: Random, data: bytes) -> bytes:
    segments, position = [], 2
    while data[position + 1] != 0xDA:  # up to the first scan
        length = struct.unpack_from(">H", data, position + 2)[0]
        segments.append(data[position : position + 2 + length])
        position += 2 + length
    which, rest = random.randrange(len(segments)), data[position:]
    match random.randrange(7):
        case 0:  # SOF0 or SOF2: height and width
            sizes = struct.pack(">HH", *(side & 0xFFFF for side in _unsigned(random)))
            segments = [s[:5] + sizes + s[9:] if s[1] in (0xC0, 0xC2) else s for s in segments]
        case 1:
            del segments[which]
        case 2:
            segments[which:which] = [segments[which]] * random.choice((1, 1, 200, 20_000))
        case 3:  # more scans, each with the data of the image or none
            length = struct.unpack_from(">H", rest, 2)[0] + 2
            scan = rest[: length + random.choice((0, 0, len(rest)))]
            rest = scan.removesuffix(_EOI) * random.choice((2, 30, 3000)) + rest
        case 4:  # another process: progressive, arithmetic, lossless
            process = random.choice((0xC0, 0xC1, 0xC2, 0xC3, 0xC9, 0xCA, 0xCB))
            segments = [s[:1] + bytes((process,)) + s[2:] if s[1] in (0xC0, 0xC2) else s for s in segments]
        case 5:  # bytes between segments
            segments.insert(which, random.choice((b"\xff", b"\xff\0", b"\0", b"\xff\xd0")) * random.choice((1, 99_999)))
        case _:
            body = mutated(random, segments[which][4:])[:60_000]
            segments[which] = segments[which][:2] + struct.pack(">H", len(body) + 2) + body
    return data[:2] + b"".join(segments) + rest


def _tiff(random: Random, data: bytes) -> bytes:
    order = "<" if data[:2] == b"II" else ">"
    (directory,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, directory)
    changed = bytearray(data)
    for _ in range(random.randint(1, 3)):
        entry = directory + 2 + 12 * random.randrange(count)
        tag = random.choice(
            (256, 257, 258, 259, 262, 273, 277, 278, 279, 284, 317, 320, 322, 323, 324, 325, 338, 339, 34665, 700, 330)
        )
        match random.randrange(5):
            case 0:
                struct.pack_into(f"{order}H", changed, entry, tag)
            case 1:
                struct.pack_into(f"{order}H", changed, entry + 2, random.randrange(20))
            case 2:
                changed[entry + 4 : entry + 8] = edge(random, 4)
            case 3:  # tiles of that size, where the strips were
                tags = {278: 322, 282: 323, 273: 324, 279: 325}
                for at in range(directory + 2, directory + 2 + 12 * count, 12):
                    old = struct.unpack_from(f"{order}H", changed, at)[0]
                    if old in tags:
                        struct.pack_into(f"{order}H", changed, at, tags[old])
                    if old in (278, 282):
                        struct.pack_into(f"{order}HII", changed, at + 2, 4, 1, random.choice((1, 16, 64, 4096, 26_000)))
            case _:
                changed[entry + 8 : entry + 12] = edge(random, 4)
    return bytes(changed)


def _header(*fields: tuple[int, int]) -> Any:
    """A change that puts edges into fields, each (offset, length)."""

    def change(random: Random, data: bytes) -> bytes:
        changed = bytearray(data)
        for offset, length in random.sample(fields, random.randint(1, 2)):
            changed[offset : offset + length] = edge(random, length)
        return bytes(changed)

    return change


def _near(name: bytes, *fields: tuple[int, int]) -> Callable[[Random, bytes], bytes]:
    """The same for fields at offsets from a name that is somewhere in the file."""

    def change(random: Random, data: bytes) -> bytes:
        place = data.find(name)
        return _header(*((place + offset, length) for offset, length in fields))(random, data) if place >= 0 else data

    return change


def _words(random: Random, data: bytes) -> bytes:
    """Other numbers in a header that is text."""
    words = data.split(maxsplit=4)
    numbers = (b"0", b"1", b"9", b"255", b"256", b"1000", b"65535", b"65536", b"99999", b"-1", b"1e9", b"# x")
    words[random.randrange(min(4, len(words)))] = random.choice((*numbers, b"P1", b"P2", b"P3", b"P5", b"P6", b"Pf"))
    return b" ".join(words)


def _gif(random: Random, data: bytes) -> bytes:
    """Blocks before the first frame, which is of another size."""
    flags = data[10]
    head = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    kind = random.choice((b"!\xfe", b"!\xff", b"!\xf9", b"!\x01", b"x"))
    block = random.choice((b"\1a", b"\xff" + bytes(255), b"\0")) * random.choice((1, 300, 200_000))
    frame = data.find(b",", head)
    sizes = struct.pack("<HH", *(side & 0xFFFF for side in _unsigned(random)))
    rest = data[head:frame] + data[frame : frame + 5] + sizes + data[frame + 9 :] if frame >= 0 else data[head:]
    return data[:head] + kind + block + b"\0" + random.choice((data[head:], rest))


def _unsigned(random: Random) -> tuple[int, int]:
    return random.choice(_SIZES)


_BITMAP = ((4, 4), (8, 4), (12, 2), (14, 2), (16, 4), (20, 4), (32, 4))
_SIZ = (*((2 + 4 * number, 4) for number in range(1, 9)), (38, 2), (40, 1), (41, 1))
_COD = ((4, 1), (5, 1), (6, 2), (8, 1), (9, 1), (10, 1), (11, 1), (12, 1))
_ICON = ((4, 2), (6, 1), (7, 1), (8, 1), (12, 2), (14, 4), (18, 4))
_TARGA = ((0, 1), (1, 1), (2, 1), (3, 2), (5, 2), (7, 1), (12, 2), (14, 2), (16, 1), (17, 1))
_SURFACE = ((4, 4), (12, 4), (16, 4), (20, 4), (80, 4), (84, 4), (88, 4), (92, 4), (96, 4), (104, 4), (128, 4))


def _either(*changes: Callable[[Random, bytes], bytes]) -> Callable[[Random, bytes], bytes]:
    return lambda random, data: random.choice(changes)(random, data)


_BY_FORMAT = {
    "PNG": _png,
    "JPEG": _jpeg,
    "MPO": _either(_jpeg, _near(b"MPF\0", (4, 2), (8, 4), (12, 2), (16, 4), (20, 4), (30, 4))),
    "TIFF": _tiff,
    "GIF": _either(_gif, _header((6, 2), (8, 2), (10, 1), (11, 1))),  # screen width and height, flags, background
    "BMP": _header((10, 4), *((14 + offset, length) for offset, length in _BITMAP)),
    "DIB": _header((0, 4), *_BITMAP),
    "WEBP": _header((4, 4), (12, 4), (16, 4), (20, 4), (24, 3), (27, 3)),  # RIFF size, first chunk and its head
    "PPM": _words,
    "AVIF": _either(
        _near(b"ispe", (-4, 4), (8, 4), (12, 4)), _near(b"iloc", (-4, 4), (4, 4), (8, 4), (12, 4), (16, 4), (20, 4)),
        _near(b"av1C", (4, 1), (5, 1), (6, 1), (8, 4)), _near(b"mdat", (4, 1), (5, 2), (7, 2), (9, 4)),
    ),
    "JPEG2000": _either(
        _near(b"\xff\x51", *_SIZ), _near(b"\xff\x52", *_COD),
        _near(b"ihdr", (4, 4), (8, 4), (12, 2), (14, 1)), _near(b"\xff\x90", (2, 2), (4, 2), (6, 4), (10, 1)),
    ),
    "ICO": _either(_header(*_ICON), _near(b"\x28\0\0\0", *_BITMAP), _near(b"IHDR", (4, 4), (8, 4))),
    "TGA": _header(*_TARGA),
    "DDS": _header(*_SURFACE),
    "QOI": _header((4, 4), (8, 4), (12, 1), (13, 1)),
}  # fmt: skip
