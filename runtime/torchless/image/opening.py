"""From the bytes of an image file to an opened Pillow image, by their content: only formats that are allowed, and only
what is not too costly.
"""

import importlib
import io
from collections.abc import Sequence
from contextlib import suppress

from PIL import Image, UnidentifiedImageError

from torchless.errors import ImageDecodeError, ImageError, ImageTooLargeError, UsageError, first_line
from torchless.image.formats import FORMATS, HEIF, PLUGINS, format_by_name, format_of, name_other
from torchless.image.limits.check import check_before_opening, check_of
from torchless.image.options import ImageOptions


def check_formats(formats: Sequence[str]) -> None:
    """Raises UsageError for a format that no plugin was registered for."""
    Image.init()
    for name in formats:
        if name.upper() not in Image.OPEN:
            raise UsageError(
                f"ImageOptions.formats names {name!r}, which is not registered with Pillow: import its plugin first"
            )


def import_for(name: str) -> None:
    """Imports now what opening an image file of that name will need, if its suffix is right. For a program that waits
    for something else meanwhile.
    """
    Image.preinit()
    format = format_by_name(name)
    if format is not None:
        with suppress(ImageError):  # whatever is missing is told when the image is opened
            _import_plugin(format)
        check_of(format)


def open_image(data: bytes, options: ImageOptions) -> Image.Image:
    """The image of a file's bytes, opened and not decoded. Raises ImageDecodeError or ImageTooLargeError."""
    if not data:
        raise ImageDecodeError("the file is empty")
    format = None
    try:
        if (found := _open_as_asked(data, options.formats)) is not None:
            return found
        format = _readable_format(data)
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


def _open_as_asked(data: bytes, formats: Sequence[str]) -> Image.Image | None:
    """The image in one of the caller's own formats, if its plugin accepts it."""
    if not formats:
        return None
    try:
        return Image.open(io.BytesIO(data), formats=list(formats))
    except UnidentifiedImageError:
        return None


def _readable_format(data: bytes) -> str:
    """The format of these bytes, whose plugin is then imported. Raises ImageDecodeError, which says what they are."""
    format = format_of(data)
    if format is None:
        other = name_other(data)
        raise ImageDecodeError(
            f"it is {other}, not an image of a supported format"
            if other
            else f"not an image of a supported format ({', '.join(FORMATS)}), or its header is damaged"
        )
    _import_plugin(format)
    return format


def _import_plugin(format: str) -> None:
    try:
        if format == HEIF:
            importlib.import_module("pillow_heif").register_heif_opener()
        else:
            importlib.import_module(f"PIL.{PLUGINS[format]}")
    except ImportError:
        raise ImageDecodeError(
            "it is HEIC or HEIF by its content; that needs the extra heif: pip install 'torchless[heif]'"
            if format == HEIF
            else f"it is {format}, which this version of Pillow cannot read: pip install --upgrade pillow"
        ) from None
