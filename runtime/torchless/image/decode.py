"""From a path, bytes, array or Pillow image to an RGB Pillow image, safely.

Colour conversion is Pillow's `convert("RGB")`, as in torchvision's image loader
(torchvision.datasets.folder.pil_loader): transparency is dropped, not blended. Two things deliberately differ from that
loader: EXIF orientation is applied (unless turned off), and images of 16 or 32 bits per sample are scaled to 8 bits,
where Pillow would clip nearly everything to white. docs/images.md has the details.
"""

import logging
import os
import warnings
from os import PathLike
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from torchless.errors import ImageDecodeError, ImageError, ImageTooLargeError, first_line
from torchless.heaps import share_heaps
from torchless.image.arrays import from_array
from torchless.image.colours import to_rgb
from torchless.image.content import Readable, alone_with, content_of
from torchless.image.limits.check import check_before_decoding
from torchless.image.opening import open_image
from torchless.image.options import ImageOptions
from torchless.image.truncated import accepting_truncated

# What Classifier takes for an image: a path, the bytes of an image file, such a file open for reading, a Pillow image,
# or a uint8 RGB array (H, W, 3).
ImageLike = str | PathLike[str] | bytes | bytearray | memoryview | Readable | Image.Image | NDArray[np.uint8]

# EXIF's eight orientations, as the Pillow operation that undoes each (Exif 2.32, tag 0x0112; 1 is upright).
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# By what factor "fast" decodes larger than needed, at least. 1 would take a tenth less time, and change the answer to
# one large photo in ten (docs/images.md).
_DRAFT_MARGIN = 2
# Enough for an image of 4000×3000 and its smaller copies. A Pillow block has at most 16 MB (its documentation:
# reference/block_allocator).
_BLOCKS_A_WORKER = 6


def take_pillow_over(workers: int) -> None:
    """Changes settings of the whole process, which a program may do but a library may not.

    Our own limit on pixels is checked before decoding, so Pillow's is turned off. Pillow's warnings and logs are
    silenced: an error about an image is in its row. And Pillow keeps the memory of finished images for the next images
    of `workers` threads: requesting it from the system again takes a third of the time of an image of 4000×3000, and
    delays other threads (docs/performance.md). If PILLOW_BLOCKS_MAX is set in the environment, it decides instead.
    The C library keeps less: share_heaps.
    """
    share_heaps(workers)
    Image.MAX_IMAGE_PIXELS = None
    warnings.filterwarnings("ignore", module="PIL")
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    if "PILLOW_BLOCKS_MAX" not in os.environ:
        Image.core.set_blocks_max(_BLOCKS_A_WORKER * workers)  # type: ignore[attr-defined]


class Decoded(NamedTuple):
    """An upright RGB image, and what its user should know before trusting the answer to it, if there is anything."""

    rgb: Image.Image
    warning: str | None = None


def load_rgb(image: ImageLike, options: ImageOptions = ImageOptions(), *, short_side: int | None = None) -> Image.Image:
    """`image` as an upright 8-bit RGB Pillow image; the first frame if there are several.

    `image` is a path, the bytes of an image file, such a file open for reading (read from its beginning), a Pillow
    image of any mode, or a uint8 array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4). A Pillow image that is already
    upright RGB is returned unchanged. `short_side` is the number of pixels that the caller will resize the short side
    to: with `options.decode` "fast", a JPEG is decoded no larger than that requires. Raises ImageReadError,
    ImageDecodeError or ImageTooLargeError, all of them ImageError.
    """
    return decode_image(image, options, short_side=short_side).rgb


def decode_image(image: ImageLike, options: ImageOptions = ImageOptions(), *, short_side: int | None = None) -> Decoded:
    """The same as load_rgb, with a warning where the values hardly use the range that they are read with, or the file
    ended early.
    """
    if isinstance(image, Image.Image):
        with alone_with(image), accepting_truncated(options.truncated):
            return _to_upright_rgb(image, options)
    if isinstance(image, np.ndarray):
        return _to_upright_rgb(from_array(image), options)
    content = content_of(image, options.max_bytes)
    draft_side = short_side if options.decode == "fast" else None
    try:
        with accepting_truncated(False):
            return _decode(content, options, draft_side)
    except ImageDecodeError as error:
        if not options.truncated:
            raise
        with accepting_truncated(True):
            rgb, warning = _decode(content, options, draft_side)
        told = f"the file ends early or is damaged, and what it lacks is empty: {error}"
        return Decoded(rgb, f"{told}; {warning}" if warning else told)


def _decode(data: bytes, options: ImageOptions, draft_side: int | None) -> Decoded:
    with open_image(data, options) as opened:
        return _to_upright_rgb(opened, options, data, draft_side)


def _to_upright_rgb(
    image: Image.Image, options: ImageOptions, data: bytes | None = None, draft_side: int | None = None
) -> Decoded:
    """`data` is the file of an image that is not decoded yet."""
    check_before_decoding(image, options.max_pixels)
    try:
        if draft_side is not None:  # both sides at least this long, whichever of them EXIF makes the width
            image.draft(None, (_DRAFT_MARGIN * draft_side, _DRAFT_MARGIN * draft_side))
        decoded = _decoded_fast(data, image) if data is not None and options.decode == "fast" else None
        rgb, warning = to_rgb(image if decoded is None else decoded, options)
        operation = _UPRIGHT.get(_orientation(image)) if options.apply_exif else None
        return Decoded(rgb if operation is None else rgb.transpose(operation), warning)
    except ImageError:
        raise
    except MemoryError:
        raise ImageTooLargeError(
            f"there is not enough memory for an image of {image.width}×{image.height} pixels"
        ) from None
    except Exception as error:  # as in _open: Pillow decodes the pixels only now
        raise ImageDecodeError(f"cannot decode: {first_line(error)}") from error


def _decoded_fast(data: bytes, image: Image.Image) -> Image.Image | None:
    from torchless.image.fast import decode_jpeg

    return decode_jpeg(data, image)


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation; 1 if there is none.

    Not ImageOps.exif_transpose: that rewrites the EXIF block, and fails on damaged ones.
    """
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged EXIF leaves an image unrotated, not unreadable
        return 1
