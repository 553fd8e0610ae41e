"""Every format, mode and bit depth through torchvision's image loader and through torchless: make image-formats.

    python tools/image_formats.py figures/image-formats.json

Each row is one way to store the same photo. Its figures are the mean distance, in steps of 1/255, of what each side
reads from the photo that was stored, and the largest distance of the two sides from one another. It ends with the
effect of what both leave out: ICC profiles.
"""

import io
import json
import struct
import sys
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import skimage
from numpy.typing import NDArray
from PIL import Image, ImageCms, UnidentifiedImageError, __version__
from torchvision.datasets.folder import pil_loader

from torchless.errors import ImageError
from torchless.image.decode import decode_image
from torchless.image.options import ImageOptions

SIZE = (128, 96)


class Case(NamedTuple):
    """One way to store the photo. `given` is what a reader should see, uint8 (H, W, 3)."""

    format: str
    mode: str
    bits: str
    data: bytes
    given: NDArray[np.uint8]
    options: ImageOptions = ImageOptions()
    flag: str = ""


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    """An image file."""
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def photo() -> Image.Image:
    """A real photo, small."""
    with Image.open(f"{skimage.data_dir}/coffee.png") as opened:  # type: ignore[attr-defined]
        return opened.convert("RGB").resize(SIZE)


def eight_bit_cases(picture: Image.Image) -> Iterator[Case]:
    """Modes of 8 bits and fewer, in each format that has them."""
    modes = {
        "JPEG": ("RGB", "L", "CMYK"),
        "MPO": ("RGB",),
        "PNG": ("RGB", "L", "LA", "RGBA", "P", "1"),
        "WEBP": ("RGB", "RGBA"),
        "GIF": ("P", "L"),
        "TIFF": ("RGB", "L", "LA", "RGBA", "P", "1", "CMYK", "YCbCr"),
        "BMP": ("RGB", "L", "P", "1", "RGBA"),
        "PPM": ("RGB", "L", "1"),
        "AVIF": ("RGB", "L", "RGBA"),
        "JPEG2000": ("RGB", "L", "LA", "RGBA"),
        "ICO": ("RGB", "RGBA"),
        "TGA": ("RGB", "L", "LA", "RGBA", "P"),
        "DDS": ("RGB", "L", "LA", "RGBA"),
        "QOI": ("RGB", "RGBA"),
    }
    for format, names in modes.items():
        for mode in names:
            stored = picture.convert(mode)
            options = {"sizes": [SIZE]} if format == "ICO" else {"lossless": True} if format == "WEBP" else {}
            given = np.asarray(stored.convert("RGB"))
            yield Case(format, mode, "1" if mode == "1" else "8", encoded(stored, format, **options), given)


def deep_cases(picture: Image.Image) -> Iterator[Case]:
    """Samples of more than 8 bits: as their type says, and in a part of its range."""
    grey = np.asarray(picture.convert("L"))
    given = np.repeat(grey[:, :, None], 3, axis=2)

    def files(samples: NDArray[Any], formats: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
        for format in formats:
            yield format, encoded(Image.fromarray(samples), format)

    for bits, formats in (
        (16, ("PNG", "TIFF", "PPM", "JPEG2000")),
        (12, ("PNG", "TIFF")),
        (10, ("TIFF",)),
        (14, ("TIFF",)),
    ):
        white = (1 << bits) - 1
        samples = np.rint(grey / 255 * white).astype(np.uint16)
        for format, data in files(samples, formats):
            yield Case(format, "L", "16" if bits == 16 else f"{bits} in 16", data, given)
            if bits < 16:
                yield ranged(Case(format, "L", f"{bits} in 16", data, given), 0, white)
    for low, high in ((0, 1), (0, 255), (0, 4095), (-1, 1)):
        data = encoded(Image.fromarray((low + grey / 255 * (high - low)).astype(np.float32)), "TIFF")
        case = Case("TIFF", "L", f"float {low}..{high}", data, given)
        yield case
        if high != 255 and (low, high) != (0, 1):
            yield ranged(case, low, high)
    case = Case("TIFF", "L", "uint32", uint32_tiff(grey), given)
    yield case
    yield ranged(case, 0, 2**32 - 1)
    colours = np.asarray(picture)
    for bits in (16, 12):
        data = png16(np.rint(colours / 255 * ((1 << bits) - 1)).astype(">u2"))
        case = Case("PNG", "RGB", "16" if bits == 16 else "12 in 16", data, colours)
        yield case
        if bits == 12:
            yield ranged(case, 0, 4095)


def ranged(case: Case, black: int, white: int) -> Case:
    """The same with --value-range."""
    return case._replace(options=ImageOptions(value_range=(black, white)), flag=f"--value-range {black}:{white}")


def uint32_tiff(grey: NDArray[np.uint8]) -> bytes:
    """A TIFF file of 32-bit samples without a sign, which Pillow reads and cannot write."""
    content = np.rint(grey / 255 * (2**32 - 1)).astype("<u4").tobytes()
    height, width = grey.shape
    tags = ((256, width), (257, height), (258, 32), (259, 1), (262, 1), (273, 110), (277, 1), (279, len(content)))
    head = (
        b"II*\0"
        + struct.pack("<IH", 8, len(tags))
        + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    )
    return head + bytes(4) + content


def png16(samples: NDArray[Any]) -> bytes:
    """A PNG of 16-bit colours, big-endian (H, W, 3), which Pillow reads and cannot write."""
    height, width = samples.shape[:2]
    rows = zlib.compress(b"".join(b"\0" + row.tobytes() for row in samples))
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)), (b"IDAT", rows), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def distance(read: NDArray[np.uint8] | None, given: NDArray[np.uint8]) -> float | None:
    """The mean distance in steps of 1/255; None where nothing was read."""
    return None if read is None else round(float(np.abs(read.astype(int) - given).mean()), 2)


def row_of(case: Case, folder: Path) -> dict[str, Any]:
    """What both sides make of a case."""
    path = folder / "image"
    path.write_bytes(case.data)
    try:
        theirs: NDArray[np.uint8] | None = np.asarray(pil_loader(str(path)))
    except (OSError, UnidentifiedImageError, ValueError):
        theirs = None
    try:
        rgb, warning = decode_image(path, case.options)
        ours: NDArray[np.uint8] | None = np.asarray(rgb)
    except ImageError:
        ours, warning = None, None
    apart = None if ours is None or theirs is None else int(np.abs(ours.astype(int) - theirs).max())
    return {
        "format": case.format, "mode": case.mode, "bits": case.bits, "flag": case.flag,
        "torchvision": distance(theirs, case.given), "torchless": distance(ours, case.given),
        "apart": apart, "warned": warning is not None,
    }  # fmt: skip


def icc_effect(picture: Image.Image) -> dict[str, float]:
    """How far the values of a photo in Adobe RGB move when they become those of sRGB, in steps of 1/255: what a reader
    that ignores profiles leaves out. The profile is sRGB's, which Pillow makes, with other primaries.
    """
    srgb = ImageCms.createProfile("sRGB")
    profile = bytearray(ImageCms.ImageCmsProfile(srgb).tobytes())
    for name in (b"rXYZ", b"gXYZ", b"bXYZ"):
        place = profile.find(name)
        at = struct.unpack_from(">I", profile, place + 4)[0] + 8
        struct.pack_into(">3i", profile, at, *(round(value * 65536) for value in ADOBE_RGB[name]))
    wide = ImageCms.ImageCmsProfile(io.BytesIO(bytes(profile)))
    applied = ImageCms.profileToProfile(picture, wide, srgb)
    moved = np.abs(np.asarray(applied).astype(int) - np.asarray(picture))
    return {"mean": round(float(moved.mean()), 1), "largest": int(moved.max())}


# The primaries of Adobe RGB (1998), adapted to D50: what cameras write beside sRGB.
ADOBE_RGB = {
    b"rXYZ": (0.60974, 0.31111, 0.01947), b"gXYZ": (0.20528, 0.62567, 0.06087), b"bXYZ": (0.14919, 0.06322, 0.74457),
}  # fmt: skip


def main() -> None:
    """Writes the figures."""
    from tempfile import TemporaryDirectory

    picture = photo()
    with TemporaryDirectory() as folder:
        rows = [row_of(case, Path(folder)) for case in (*eight_bit_cases(picture), *deep_cases(picture))]
    document = {
        "date": datetime.now(UTC).date().isoformat(),
        "pillow": __version__,
        "rows": rows,
        "icc": icc_effect(picture),
    }
    Path(sys.argv[1]).write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
