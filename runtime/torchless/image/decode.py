"""From a path, bytes, array or Pillow image to an RGB Pillow image, safely.

Colour conversion is Pillow's `convert("RGB")`, as in torchvision's image loader
(torchvision.datasets.folder.pil_loader): transparency is dropped, not blended. Two things deliberately differ from that
loader: EXIF orientation is applied (unless turned off), and images of 16 or 32 bits per sample are scaled to 8 bits,
where Pillow would clip nearly everything to white. docs/images.md has the details.
"""

import importlib
import io
import logging
import os
import warnings
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from torchless.errors import ImageDecodeError, ImageError, ImageTooLargeError, first_line
from torchless.image.arrays import from_array
from torchless.image.content import Readable, alone_with, content_of
from torchless.image.formats import FORMATS, HEIF, PLUGINS, format_of, name_other
from torchless.image.limits.check import check_before_decoding, check_before_opening
from torchless.image.options import ImageOptions

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

# By what factor "fast" decodes larger than needed, at least. 2 would halve the shift of probabilities and take a fifth
# more time (docs/images.md).
_DRAFT_MARGIN = 1
# Enough for an image of 4000×3000 and its smaller copies. A Pillow block has at most 16 MB (its documentation:
# reference/block_allocator).
_BLOCKS_A_WORKER = 6


def take_pillow_over(workers: int) -> None:
    """Changes settings of the whole process, which a program may do but a library may not.

    Our own limit on pixels is checked before decoding, so Pillow's is turned off. Pillow's warnings and logs are
    silenced: an error about an image is in its row. And Pillow keeps the memory of finished images for the next images
    of `workers` threads: requesting it from the system again takes a third of the time of an image of 4000×3000, and
    delays other threads (docs/performance.md). If PILLOW_BLOCKS_MAX is set in the environment, it decides instead.
    """
    Image.MAX_IMAGE_PIXELS = None
    warnings.filterwarnings("ignore", module="PIL")
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    if "PILLOW_BLOCKS_MAX" not in os.environ:
        Image.core.set_blocks_max(_BLOCKS_A_WORKER * workers)  # type: ignore[attr-defined]


def load_rgb(image: ImageLike, options: ImageOptions = ImageOptions(), *, short_side: int | None = None) -> Image.Image:
    """`image` as an upright 8-bit RGB Pillow image; the first frame if there are several.

    `image` is a path, the bytes of an image file, such a file open for reading (read from its beginning), a Pillow
    image of any mode, or a uint8 array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4). A Pillow image that is already
    upright RGB is returned unchanged. `short_side` is the number of pixels that the caller will resize the short side
    to: with `options.decode` "fast", a JPEG is decoded no larger than that requires. Raises ImageReadError,
    ImageDecodeError or ImageTooLargeError, all of them ImageError.
    """
    if isinstance(image, Image.Image):
        with alone_with(image):
            return _to_upright_rgb(image, options)
    if isinstance(image, np.ndarray):
        return _to_upright_rgb(from_array(image), options)
    with _open(content_of(image, options.max_bytes), options) as opened:
        return _to_upright_rgb(opened, options, short_side if options.decode == "fast" else None)


def _open(data: bytes, options: ImageOptions) -> Image.Image:
    if not data:
        raise ImageDecodeError("the file is empty")
    format = _readable_format(data)
    try:
        check_before_opening(format, data, options.max_pixels)
        return Image.open(io.BytesIO(data), formats=[format])
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageDecodeError(
            f"cannot decode: its header is damaged, or of a kind of {format} that Pillow lacks"
        ) from None
    except (
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:  # Pillow's own limit, if the caller left it on
        raise ImageTooLargeError(str(error)) from None
    except Exception as error:  # decoders raise anything on hostile bytes; only this image fails
        raise ImageDecodeError(f"cannot decode: {first_line(error)}") from error


def _readable_format(data: bytes) -> str:
    """The format of these bytes, whose plugin is then imported. Raises ImageDecodeError, which says what they are."""
    format = format_of(data)
    if format is None:
        other = name_other(data)
        raise ImageDecodeError(
            f"not an image of a supported format ({', '.join(FORMATS)})"
            f"{f': it is {other}' if other else ', or its header is damaged'}"
        )
    try:
        if format == HEIF:
            importlib.import_module("pillow_heif").register_heif_opener()
        else:
            importlib.import_module(f"PIL.{PLUGINS[format]}")
    except ImportError:
        raise ImageDecodeError(
            "it is HEIC or HEIF, whatever its name says; that needs the extra heif: pip install 'torchless[heif]'"
            if format == HEIF
            else f"it is {format}, which this version of Pillow cannot read: pip install --upgrade pillow"
        ) from None
    return format


def _to_upright_rgb(image: Image.Image, options: ImageOptions, draft_side: int | None = None) -> Image.Image:
    check_before_decoding(image, options.max_pixels)
    try:
        if draft_side is not None:  # both sides at least this long, whichever of them EXIF makes the width
            image.draft(None, (_DRAFT_MARGIN * draft_side, _DRAFT_MARGIN * draft_side))
        rgb = _to_rgb(image)
        operation = _UPRIGHT.get(_orientation(image)) if options.apply_exif else None
        return rgb if operation is None else rgb.transpose(operation)
    except ImageError:
        raise
    except MemoryError:
        raise ImageTooLargeError(
            f"there is not enough memory for an image of {image.width}×{image.height} pixels"
        ) from None
    except Exception as error:  # as in _open: Pillow decodes the pixels only now
        raise ImageDecodeError(f"cannot decode: {first_line(error)}") from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        return _from_samples(np.asarray(image) >> 8)
    if image.mode == "I":
        return _from_samples(_eight_bits(np.asarray(image)))
    if image.mode == "F":
        return _from_samples(_eight_bits_of_float(np.asarray(image)))
    if image.mode == "P" and "transparency" in image.info:  # dropped, as in RGBA; convert would do the same, but warn
        image = image.copy()
        del image.info["transparency"]
    image.load()
    return (
        image if image.mode == "RGB" else image.convert("RGB")
    )  # convert would copy all pixels of an image that is RGB already


def _eight_bits(samples: NDArray[np.int32]) -> NDArray[np.int32]:
    """Mode I holds 8-bit or 16-bit samples in 32 bits and does not say which: anything above 255 makes it 16-bit."""
    return samples >> 8 if samples.max(initial=0) > 255 else samples


def _eight_bits_of_float(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mode F holds 0..1 or 0..255 and does not say which: it is 0..1 if nothing lies outside."""
    if not np.isfinite(samples).all():
        raise ImageDecodeError("the image contains NaN or infinite samples")
    unit = samples.min(initial=0) >= 0 and samples.max(initial=0) <= 1
    return np.rint(samples * 255) if unit else samples


def _from_samples(samples: NDArray[Any]) -> Image.Image:
    return Image.fromarray(samples.clip(0, 255).astype(np.uint8)).convert("RGB")


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation; 1 if there is none.

    Not ImageOps.exif_transpose: that rewrites the EXIF block, and fails on damaged ones.
    """
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged EXIF leaves an image unrotated, not unreadable
        return 1
