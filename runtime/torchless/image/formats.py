"""Which image formats are read, and which one a file is by its content, whatever its name is.

An allow-list: none of these decoders starts another program or reads other files, as some of Pillow's do. Importing
this module imports neither Pillow nor numpy; a format's plugin is imported when the first image of it comes.
"""

from pathlib import PurePath
from typing import NamedTuple


class ImageFormat(NamedTuple):
    """A format under Pillow's `name`; its module in PIL; how its files' names end, and how their content begins."""

    name: str
    plugin: str
    suffixes: tuple[str, ...]
    beginnings: tuple[bytes, ...] = ()


_FORMATS = (
    ImageFormat("JPEG", "JpegImagePlugin", (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"), (b"\xff\xd8\xff",)),
    ImageFormat("PNG", "PngImagePlugin", (".png", ".apng"), (b"\x89PNG\r\n\x1a\n",)),
    ImageFormat("WEBP", "WebPImagePlugin", (".webp",)),
    ImageFormat("GIF", "GifImagePlugin", (".gif",), (b"GIF87a", b"GIF89a")),
    ImageFormat(
        "TIFF",
        "TiffImagePlugin",
        (".tif", ".tiff"),
        (b"II*\0", b"MM\0*", b"II+\0", b"MM*\0", b"II\0*"),
    ),
    ImageFormat("BMP", "BmpImagePlugin", (".bmp", ".dib"), (b"BM",)),
    ImageFormat("DIB", "BmpImagePlugin", (), tuple(bytes((n, 0, 0, 0)) for n in (12, 40, 52, 56, 64, 108, 124))),
    ImageFormat(
        "PPM",
        "PpmImagePlugin",
        (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
        tuple(bytes((ord("P"), kind, space)) for kind in b"123456f" for space in b" \t\n\v\f\r"),
    ),
    ImageFormat("AVIF", "AvifImagePlugin", (".avif", ".avifs")),
    ImageFormat(
        "JPEG2000",
        "Jpeg2KImagePlugin",
        (".jp2", ".j2k", ".jpc", ".jpf", ".jpx", ".j2c"),
        (b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  \r\n\x87\n"),
    ),
    ImageFormat("ICO", "IcoImagePlugin", (".ico",), (b"\0\0\1\0",)),
    ImageFormat("DDS", "DdsImagePlugin", (".dds",), (b"DDS ",)),
    ImageFormat("QOI", "QoiImagePlugin", (".qoi",), (b"qoif",)),
    ImageFormat("TGA", "TgaImagePlugin", (".tga", ".icb", ".vda", ".vst")),
)
PLUGINS = {format.name: format.plugin for format in _FORMATS}
# Read with the extra heif, whose package registers it with Pillow under this name.
HEIF, HEIF_SUFFIXES = "HEIF", (".heic", ".heif", ".hif")
FORMATS = tuple(PLUGINS)
SUFFIXES = frozenset(suffix for format in _FORMATS for suffix in format.suffixes) | frozenset(HEIF_SUFFIXES)
# Images to people and to Pillow, whose formats are not read: among other images each has a row that says what it is.
UNREAD_SUFFIXES = frozenset(
    [
        ".blp",
        ".bw",
        ".cur",
        ".dcx",
        ".emf",
        ".eps",
        ".fit",
        ".fits",
        ".flc",
        ".fli",
        ".ftc",
        ".ftu",
        ".gbr",
        ".icns",
        ".im",
        ".jxl",
        ".msp",
        ".pcd",
        ".pcx",
        ".psd",
        ".pxr",
        ".ras",
        ".rgb",
        ".rgba",
        ".sgi",
        ".wmf",
        ".xbm",
        ".xpm",
    ]
)

_AVIF_BRANDS, _HEIF_BRANDS = (
    (b"avif", b"avis"),
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"),
)
_STILL_BRANDS = (b"mif1", b"msf1")  # of either
_HEAD = 512

# The version of its format (the first field of ONNX's protobuf message), then who made it.
_ONNX = tuple(bytes([0x08, version, 0x12]) for version in range(3, 64))
# What is often taken for an image, by its first bytes.
_OTHER: tuple[tuple[bytes | tuple[bytes, ...], str], ...] = (
    (b"%PDF-", "a PDF document"),
    (b"%!PS", "PostScript (EPS)"),
    (b"\xc5\xd0\xd3\xc6", "PostScript (EPS)"),
    (b"8BPS", "a Photoshop file (PSD)"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"v/1\x01", "OpenEXR"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"SIMPLE  =", "FITS"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "gzip data"),
    (b"\x93NUMPY", "a NumPy array"),
    (_ONNX, "an ONNX model"),
    (b"version https://git-lfs", "a pointer of Git LFS (git lfs pull fetches the file)"),
)
_MARKUP = ((b"<svg", "an SVG drawing"), (b"<!doctype html", "an HTML page"), (b"<html", "an HTML page"))


def is_image_name(name: str) -> bool:
    """Whether a file's suffix is that of a format that is read, if need be with the extra heif."""
    return PurePath(name).suffix.lower() in SUFFIXES


def is_unread_image_name(name: str) -> bool:
    """Whether a file's suffix is that of an image format that is not read."""
    return PurePath(name).suffix.lower() in UNREAD_SUFFIXES


def format_by_name(name: str) -> str | None:
    """The format that a file's suffix stands for, under Pillow's name; HEIF too. Its content decides, not its name."""
    suffix = PurePath(name).suffix.lower()
    known = (format.name for format in _FORMATS if suffix in format.suffixes)
    return HEIF if suffix in HEIF_SUFFIXES else next(known, None)


def format_of(data: bytes) -> str | None:
    """The format of an image file by its content, under Pillow's name; HEIF too. None for what is none of them."""
    for format in _FORMATS:
        if data.startswith(format.beginnings):
            return format.name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp":
        return _by_brands(data)
    return "TGA" if _is_targa(data) else None


def name_other(data: bytes) -> str | None:
    """What a file is that is no image which is read, in words: "a PDF document". None if that is not clear."""
    for beginning, words in _OTHER:
        if data.startswith(beginning):
            return words
    head = data[:_HEAD].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith(b"<"):
        return next((words for beginning, words in _MARKUP if beginning in head), "XML")
    if data[4:8] == b"ftyp":
        return "a video, or an image of an unknown kind (MP4)"
    if head and all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head):
        return "text"
    return None


def _by_brands(data: bytes) -> str | None:
    """AVIF or HEIF: both are boxes of ISO/IEC 14496-12, and the first box names their brands."""
    end = min(int.from_bytes(data[:4], "big"), _HEAD)
    major, compatible = data[8:12], [data[at : at + 4] for at in range(16, end - 3, 4)]
    brands = (major, *compatible) if major in _STILL_BRANDS else (major,)
    if any(brand in _AVIF_BRANDS for brand in brands):
        return "AVIF"
    return HEIF if any(brand in (*_HEIF_BRANDS, *_STILL_BRANDS) for brand in brands) else None


def _is_targa(data: bytes) -> bool:
    """Whether the 18 bytes that begin a TGA file are all plausible: it has no signature, and Pillow takes much for
    one.
    """
    if len(data) <= 18:
        return False
    palette, kind, palette_depth, depth, flags = data[1], data[2], data[7], data[16], data[17]
    width, height = int.from_bytes(data[12:14], "little"), int.from_bytes(data[14:16], "little")
    depths = {1: (8,), 2: (16, 24, 32), 3: (1, 8, 16)}.get(kind & 7, ())
    return (
        kind & ~8 in (1, 2, 3)
        and depth in depths
        and palette <= 1
        and (palette_depth in (16, 24, 32) if palette else data[3:8] == bytes(5))
        and (palette == 1) >= (kind & 7 == 1)
        and flags & 0xC0 == 0
        and width > 0
        and height > 0
    )
