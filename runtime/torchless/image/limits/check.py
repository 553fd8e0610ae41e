"""Each format's checks, before an image is opened and before it is decoded."""

from collections.abc import Callable

from PIL import Image

from torchless.image.limits.pixels import check_pixels, check_python


def check_before_opening(format: str, data: bytes, max_pixels: int) -> None:
    """Raises ImageTooLargeError for a file of Pillow's `format` that would take too much time or memory."""
    check = check_of(format)
    if check is not None:
        check(data, max_pixels)


def check_of(format: str) -> Callable[[bytes, int], None] | None:
    """The check of that format, imported now."""
    match format:
        case "JPEG":
            from torchless.image.limits.jpeg import check_jpeg as check
        case "PNG":
            from torchless.image.limits.png import check_png as check
        case "TIFF":
            from torchless.image.limits.tiff import check_tiff as check
        case "GIF":
            from torchless.image.limits.others import check_gif as check
        case "WEBP":
            from torchless.image.limits.others import check_webp as check
        case "ICO":
            from torchless.image.limits.others import check_icon as check
        case "JPEG2000":
            from torchless.image.limits.jpeg2000 import check_jpeg_2000 as check
        case _:
            return None
    return check


def check_before_decoding(image: Image.Image, max_pixels: int) -> None:
    """Raises ImageTooLargeError for an opened image with too many pixels for the way in which it will be decoded."""
    check_pixels(image.width, image.height, max_pixels, "the image has")
    if any(tile[0] in Image.DECODERS for tile in getattr(image, "tile", ())):  # these are written in Python
        check_python(image.width, image.height, max_pixels, image.format or "it")
