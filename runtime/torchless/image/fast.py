"""`decode` "fast" with the extra `fast`: another JPEG decoder and another resize, behind the checks that every image
passes first. What they cannot do, or refuse, is left to Pillow.

simplejpeg gives the same pixels as Pillow, or none: it is strict, and refuses every file that libjpeg warns of. The
resize of cykooz_resizer rounds otherwise in a few values of a thousand, by 1/255.
"""

import math
from functools import cache
from importlib import import_module
from typing import Any

import PIL
from PIL import Image

PACKAGES = "simplejpeg", "cykooz_resizer"
# Pillow's modes, and what simplejpeg calls them. Other colours are Pillow's to convert.
_COLOURS = {"RGB": "RGB", "L": "GRAY"}
# The pixels are in memory twice for a moment. An image that is still larger than this gains little.
_MOST_PIXELS = 10_000_000
# What cykooz_resizer calls Pillow's filters. Its box, whose weights are 0 or 1, would take other pixels where an edge
# is rounded.
_FILTERS = {"bilinear": "bilinear", "bicubic": "catmull_rom", "lanczos": "lanczos3"}
# It reads an image where Pillow has it in memory, which another Pillow may lay out otherwise.
_LAYOUT_IS_KNOWN = 12 <= int(PIL.__version__.split(".")[0]) <= 13

Box = tuple[float, float, float, float]


def missing_packages() -> tuple[str, ...]:
    """Those packages of the extra `fast` that cannot be used here."""
    return tuple(name for name in PACKAGES if _package(name) is None)


@cache
def _package(name: str) -> Any | None:
    """A package of the extra, imported when an image first needs it."""
    if name == "cykooz_resizer" and not _LAYOUT_IS_KNOWN:
        return None
    try:
        return import_module(name)
    except ImportError:
        return None


def decode_jpeg(data: bytes, opened: Image.Image) -> Image.Image | None:
    """The pixels of a JPEG that Pillow `opened`, in the size that `draft` may have chosen; None where Pillow has to
    decode it.
    """
    from PIL.JpegImagePlugin import JpegImageFile

    decoder = _package("simplejpeg")
    is_plain = isinstance(opened, JpegImageFile) and opened.mode in _COLOURS
    if decoder is None or not is_plain or opened.width * opened.height > _MOST_PIXELS:
        return None
    try:
        pixels = decoder.decode_jpeg(
            data, _COLOURS[opened.mode], min_width=opened.width, min_height=opened.height, strict=True
        )
    except ValueError:  # damaged, or unusual: Pillow reads it, or says what is wrong with it
        return None
    if pixels.shape[:2] != (opened.height, opened.width):
        return None
    return Image.fromarray(pixels if opened.mode == "RGB" else pixels[:, :, 0])


def resize_box(
    image: Image.Image, size: tuple[int, int], interpolation: str, box: Box, rows: tuple[int, int]
) -> Image.Image | None:
    """`box` (left, top, right, bottom) of an RGB or L image, resized to `size` (width, height), first across and then
    down as Pillow does it; None where Pillow has to do it, or where an axis grows: there it would differ more. The
    result depends on the `rows` from the first up to the second.
    """
    (left, top, right, bottom), (first, last) = box, rows
    shrinks = right - left >= size[0] and bottom - top >= size[1]
    package = _package("cykooz_resizer") if shrinks and interpolation in _FILTERS else None
    if package is None:
        return None
    strip = Image.new(image.mode, (size[0], last - first))
    resized = Image.new(image.mode, size)
    image.load()
    _resize(package, image, strip, interpolation, (left, first, right, last))
    _resize(package, strip, resized, interpolation, (0, top - first, size[0], bottom - first))
    return resized


def _resize(package: Any, source: Image.Image, target: Image.Image, interpolation: str, box: Box) -> None:
    left, top, right, bottom = box
    package.Resizer().resize_pil(
        source,
        target,
        package.ResizeOptions(
            resize_alg=package.ResizeAlg.convolution(package.FilterType[_FILTERS[interpolation]]),
            crop_box=package.CropBox(
                left, top, _length(left, right, source.width), _length(top, bottom, source.height)
            ),
        ),
    )


def _length(start: float, end: float, size: int) -> float:
    """`end` - `start`, so that their sum is not above `size`: the package refuses a box that a rounding makes too
    long.
    """
    length = end - start
    return length if start + length <= size else math.nextafter(length, 0)
