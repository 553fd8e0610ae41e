"""Real images in all formats that torchless reads, and changes to them that know how the formats are built."""

import io
import struct
import zlib
from functools import cache
from random import Random
from typing import Any

import skimage
from PIL import Image
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
_PNG_HEAD = 8


@cache
def seeds() -> dict[str, tuple[bytes, ...]]:
    """Small images of every format, in the modes and with the compressions that it has."""
    with Image.open(f"{skimage.data_dir}/coffee.png") as opened:
        photo = opened.convert("RGB").resize((60, 45))
    deep = photo.convert("L").convert("I").point(lambda value: value * 257)
    exif = Image.Exif()
    exif[0x0112] = 6
    more: dict[str, Any] = {"save_all": True, "append_images": [photo.rotate(90), photo.rotate(180)]}
    return {
        "JPEG": (
            _encoded(photo, "JPEG"),
            _encoded(photo, "JPEG", progressive=True, exif=exif),
            _encoded(photo.convert("L"), "JPEG", quality=30),
            _encoded(photo.convert("CMYK"), "JPEG", restart_marker_blocks=2),
        ),
        "PNG": (
            *(_encoded(photo.convert(mode), "PNG") for mode in ("RGB", "1", "LA", "RGBA")),
            _encoded(photo.convert("P"), "PNG", transparency=3),
            _encoded(deep.convert("I;16"), "PNG"),
            _encoded(photo, "PNG", **more),
        ),
        "WEBP": (
            _encoded(photo, "WEBP"),
            _encoded(photo.convert("RGBA"), "WEBP", lossless=True, exif=exif),
            _encoded(photo, "WEBP", **more),
        ),
        "GIF": (_encoded(photo, "GIF"), _encoded(photo, "GIF", interlace=1), _encoded(photo, "GIF", **more)),
        "TIFF": (
            *(
                _encoded(photo, "TIFF", compression=name)
                for name in (None, "tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits")
            ),
            _encoded(photo.convert("1"), "TIFF", compression="group4"),
            *(
                _encoded(image, "TIFF")
                for image in (deep.convert("I;16"), deep, photo.convert("F"), photo.convert("CMYK"))
            ),
            _encoded(photo, "TIFF", **more),
        ),
        "BMP": tuple(_encoded(photo.convert(mode), "BMP") for mode in ("RGB", "1", "P", "RGBA")),
    }


def mutated_image(random: Random) -> bytes:
    """One of them, changed."""
    format, data = any_image(random)
    if random.random() < 0.5:
        data = _BY_FORMAT[format](random, data)
    return mutated(random, data, seeds()[format], most=2) if random.random() < 0.6 else data


def any_image(random: Random) -> tuple[str, bytes]:
    """A whole one, and its format."""
    format = random.choice(list(seeds()))
    return format, random.choice(seeds()[format])


def _encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


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
            chunks.insert(random.randrange(len(chunks)), which)
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
    which = random.randrange(len(segments))
    match random.randrange(4):
        case 0:  # SOF0 or SOF2: height and width
            sizes = struct.pack(">HH", *(side & 0xFFFF for side in _unsigned(random)))
            segments = [s[:5] + sizes + s[9:] if s[1] in (0xC0, 0xC2) else s for s in segments]
        case 1:
            del segments[which]
        case 2:
            segments.insert(random.randrange(len(segments)), segments[which])
        case _:
            body = mutated(random, segments[which][4:])[:60_000]
            segments[which] = segments[which][:2] + struct.pack(">H", len(body) + 2) + body
    return data[:2] + b"".join(segments) + data[position:]


def _tiff(random: Random, data: bytes) -> bytes:
    order = "<" if data[:2] == b"II" else ">"
    (directory,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, directory)
    changed = bytearray(data)
    for _ in range(random.randint(1, 3)):
        entry = directory + 2 + 12 * random.randrange(count)
        tag = random.choice(
            (256, 257, 258, 259, 262, 273, 277, 278, 279, 284, 317, 320, 322, 323, 324, 338, 339, 34665, 700, 330)
        )
        match random.randrange(4):
            case 0:
                struct.pack_into(f"{order}H", changed, entry, tag)
            case 1:
                struct.pack_into(f"{order}H", changed, entry + 2, random.randrange(20))
            case 2:
                changed[entry + 4 : entry + 8] = edge(random, 4)
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


def _unsigned(random: Random) -> tuple[int, int]:
    return random.choice(_SIZES)


_BY_FORMAT = {
    "PNG": _png,
    "JPEG": _jpeg,
    "TIFF": _tiff,
    "GIF": _header((6, 2), (8, 2), (10, 1), (11, 1)),  # screen width and height, flags, background
    "BMP": _header((10, 4), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2), (30, 4), (34, 4), (46, 4)),
    "WEBP": _header((4, 4), (12, 4), (16, 4), (20, 4), (24, 3), (27, 3)),  # RIFF size, first chunk and its head
}
