"""A file that would cost much is refused before it is decoded; files that programs write are not."""

import io
import struct
import zlib
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tests.runtime.image import bombs

from torchless.errors import ImageDecodeError, ImageError, ImageTooLargeError
from torchless.image import opening
from torchless.image.decode import load_rgb
from torchless.image.formats import FORMATS
from torchless.image.limits.check import check_before_opening
from torchless.image.options import ImageOptions

SMALL = ImageOptions(max_pixels=1_000_000)
PACKED = zlib.compress(bytes(100))
PROFILE = b"iCCP", b"x\0\0" + zlib.compress(bytes(1_000_000), 9)
SCANS = bombs.jpeg(32, 32, 3000)
ALL_STRIPS = {257: 100_000, 278: 1}

BOMBS = {
    "scans": (bombs.jpeg(7000, 7000, 5280), "5,280 scans of 49 megapixels: decoding it would take too long"),
    "scans of an arithmetic JPEG": (bombs.jpeg(7000, 7000, 50, kind=0xCA), "50 scans"),
    "comments": (bombs.jpeg(8, 8, 1, before=bombs.segment(0xFE, b"") * 10_001), "more than 10,000 segments"),
    "fill bytes": (bombs.jpeg(8, 8, 1, before=b"\xff" * 200_000), "100,000 bytes between its segments"),
    "segments of EXIF": (bombs.jpeg(8, 8, 1, before=bombs.segment(0xE1, b"Exif\0\0") * 101), "100 segments of EXIF"),
    "tags of EXIF": (bombs.jpeg(8, 8, 1, before=bombs.exif(4000, 40_000)), "bytes in its tags"),
    "number of tags": (bombs.jpeg(8, 8, 1, before=bombs.exif(4097, 4)), "more than 4,096 tags"),
    "a tile": (bombs.tiff({259: 8, 322: 26_000, 323: 26_000, 324: -1, 325: len(PACKED)}, PACKED), "676 megapixels"),
    "a tile that is not compressed": (bombs.tiff({322: 26_000, 323: 26_000, 324: -1, 325: 9}, bytes(9)), "676 mega"),
    "a tile, big-endian": (
        bombs.tiff({259: 8, 322: 26_000, 323: 26_000, 324: -1, 325: len(PACKED)}, PACKED, order=">"),
        "676 megapixels",
    ),
    "samples in a tile": (
        bombs.tiff({258: 64, 277: 60_000, 322: 1000, 323: 1000, 324: -1, 325: 9}, bytes(9)),
        "one tile or strip of the image takes 480000 MB",
    ),
    "planes": (bombs.tiff({256: 9000, 257: 9000, 277: 6, 284: 2, 273: -1}, bytes(9)), "486 megapixels in all"),
    "strips that overlap": (
        bombs.tiff({**ALL_STRIPS, 259: bombs.PACKBITS, 273: [-1] * 100_000, 279: [9000] * 100_000}, b"\x80" * 9000),
        "bytes in its tiles or strips, which overlap",
    ),
    "strips of no known size": (
        bombs.tiff({**ALL_STRIPS, 259: bombs.PACKBITS, 273: [-1] * 100_000}, b"\x80" * 9000),
        "which overlap",
    ),
    "number of strips": (bombs.tiff({257: 200_001, 278: 1, 273: -1}, bytes(9)), "more than 200,000 tiles or strips"),
    "scans in a TIFF": (
        bombs.tiff({256: 1200, 257: 1200, 259: bombs.JPEG, 273: -1, 279: len(SCANS)}, SCANS),
        "3,000 scans in its tiles",
    ),
    "chunks": (bombs.png(*[(b"abCd", b"")] * 100_001), "more than 100,000 chunks"),
    "profiles": (bombs.png(*[PROFILE] * 101), "100 chunks of compressed text or profiles"),
    "GIF's comments": (bombs.gif(b"!\xfe" + b"\1a" * 100_001 + b"\0"), "more than 100,000 blocks"),
    "GIF's extensions": (bombs.gif(b"!\xf9\0" + b"\1a" * 100_001 + b"\0"), "more than 100,000 blocks"),
    "GIF's frame": (bombs.gif(frame=(60_000, 60_000)), "60000×60000 = 3600 megapixels"),
    "GIF's screen": (bombs.gif(screen=(60_000, 60_000)), "60000×60000 = 3600 megapixels"),
    "WebP's canvas": (b"RIFF\x16\0\0\0WEBPVP8X\x0a" + bytes(7) + b"\xff\xff\0" * 2, "65536×65536"),
    "WebP, lossless": (b"RIFF\x16\0\0\0WEBPVP8L\x0a\0\0\0\x2f\xff\xff\xff\x0f" + bytes(9), "16384×16384"),
    "a PNG in an icon": (bombs.icon(bombs.png(width=30_000, height=30_000)), "30000×30000"),
    "a bitmap in an icon": (bombs.icon(bombs.bitmap(30_000, 30_000)), "30000×30000"),
    "run lengths in an icon": (bombs.icon(bombs.bitmap(5000, 5000, 1)), "decodes a bitmap with run lengths in Python"),
    "QOI": (
        b"qoif" + struct.pack(">IIBB", 5000, 5000, 3, 0) + bytes(99),
        "Pillow decodes QOI in Python, its limit is 5",
    ),
    "PPM in text": (b"P3 5000 5000 255\n" + b"1 " * 99, "Pillow decodes PPM in Python"),
    "BMP with run lengths": (
        b"BM" + bytes(8) + struct.pack("<I", 54) + bombs.bitmap(5000, 5000, 1),
        "decodes BMP in Python",
    ),
    "JPEG 2000": (bombs.jpeg_2000(9000, 9000), "JPEG 2000 takes much memory, its limit is 25"),
    "JPEG 2000's tiles": (bombs.jpeg_2000(4000, 4000, tile=16), "more than 10,000 tiles"),
    "JPEG 2000's precincts": (bombs.jpeg_2000(4000, 4000, precincts=b"\0"), "more than 1,000,000 packets"),
    "JPEG 2000's layers": (bombs.jpeg_2000(100, 100, layers=65_535, tile=10), "more than 1,000,000 packets"),
    "JPEG 2000's blocks": (bombs.jpeg_2000(4900, 4900, components=3, block=0), "more than 2,000,000 blocks"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_before_they_are_decoded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # as the command line sets it
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("it was decoded"))
    data, words = BOMBS[name]
    with pytest.raises(ImageTooLargeError, match=words):
        load_rgb(data)


def test_the_limit_for_a_tile_follows_that_for_pixels() -> None:
    tile = {322: 3008, 323: 3008, 324: -1, 325: len(PACKED), 259: bombs.DEFLATE}
    with pytest.raises(ImageTooLargeError, match="9 megapixels in all"):
        load_rgb(bombs.tiff(tile, PACKED), SMALL)


def progressive(photo: Image.Image) -> bytes:
    file = io.BytesIO()
    photo.save(file, "JPEG", progressive=True)
    return file.getvalue()


def test_images_that_programs_write_are_read() -> None:
    """At the limit on pixels itself, with what follows the image and what is embedded in it."""
    photo = Image.effect_noise((1000, 1000), 50).convert("RGB")
    noise = Random(1).randbytes(30) + b"\xff\xda" * 100
    plain = progressive(photo)
    for data in (plain, plain + noise, plain[:2] + bombs.segment(0xE2, noise) + plain[2:]):
        assert load_rgb(data, SMALL).size == (1000, 1000)
    for options in ({"compression": "jpeg"}, {"compression": "tiff_lzw"}, {"compression": "raw", "tile": None}, {}):
        file = io.BytesIO()
        photo.save(file, "TIFF", **{name: value for name, value in options.items() if value})
        assert load_rgb(file.getvalue(), SMALL).size == (1000, 1000)


def test_tiles_that_reach_over_the_edge_are_read() -> None:
    tile = zlib.compress(bytes(range(256)) * 256)
    data = bombs.tiff({256: 9, 257: 7, 259: bombs.DEFLATE, 322: 256, 323: 256, 324: -1, 325: len(tile)}, tile)
    np.testing.assert_array_equal(np.asarray(load_rgb(data, ImageOptions(max_pixels=63)))[:, :, 0], [range(9)] * 7)


def test_an_animation_costs_its_first_frame() -> None:
    frames = [Image.new("RGB", (40, 40), (number, 0, 0)) for number in range(200)]
    for format in ("GIF", "WEBP", "PNG", "TIFF"):
        file = io.BytesIO()
        frames[0].save(file, format, save_all=True, append_images=frames[1:])
        assert load_rgb(file.getvalue(), ImageOptions(max_pixels=1600)).size == (40, 40)


def test_the_checks_let_the_decoder_say_what_is_damaged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "check_before_opening", lambda *_: struct.unpack("<I", b""))
    with pytest.raises(ImageDecodeError, match="cannot decode: unpack requires a buffer of 4 bytes"):
        load_rgb(bombs.png())


@given(st.sampled_from([*BOMBS]), st.data())
def test_any_change_of_a_bomb_is_read_to_its_end(name: str, data: st.DataObject) -> None:
    """Whatever the header says: no other error, and no endless loop."""
    content = bytearray(BOMBS[name][0][:400])
    for at in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=4)):
        content[at] = data.draw(st.sampled_from((0, 1, 0x7F, 0xFF)))
    for format in FORMATS:
        try:
            check_before_opening(format, bytes(content), 1_000_000)
        except ImageError as error:
            assert isinstance(error, ImageTooLargeError)
