"""From an opened Pillow image of any mode to 8-bit RGB."""

import numpy as np
from PIL import Image

from torchless.image.options import ImageOptions
from torchless.image.value_range import doubt, few_bits, scaled, to_eight_bits

_WITH_ALPHA = frozenset({"RGBA", "LA", "PA", "La", "RGBa"})
_OF_A_BYTE = 257  # a byte of 16 bits, 0xAB, stands for 0xABAB


def to_rgb(image: Image.Image, options: ImageOptions) -> tuple[Image.Image, str | None]:
    """The image, decoded, as RGB, and a doubt about its range of values, if there is one.

    An RGB image is returned as it is.
    """
    mode = "I;16" if image.mode.startswith("I;16") else image.mode
    if mode in ("I;16", "I", "F"):
        samples = np.asarray(image)
        grey = Image.fromarray(to_eight_bits(samples, mode, options.value_range))
        return grey.convert("RGB"), doubt(samples, mode) if options.value_range is None else None
    high_bytes = _has_high_bytes(image)
    image.load()
    rgb = _without_alpha(image, options.background)
    return _of_high_bytes(rgb, options.value_range) if high_bytes else (rgb, None)


def _without_alpha(image: Image.Image, background: str | None) -> Image.Image:
    if background is not None and (image.mode in _WITH_ALPHA or "transparency" in image.info):
        canvas = Image.new("RGBA", image.size, background)
        return Image.alpha_composite(canvas, image.convert("RGBA")).convert("RGB")
    if image.mode == "P" and "transparency" in image.info:  # dropped, as in RGBA; convert would do the same, but warn
        image = image.copy()
        del image.info["transparency"]
    # convert would copy all pixels of an image that is RGB already
    return image if image.mode == "RGB" else image.convert("RGB")


def _has_high_bytes(image: Image.Image) -> bool:
    """Whether the image, not decoded yet, is of 16-bit colours, of which Pillow keeps the high byte."""
    for tile in getattr(image, "tile", ())[:1]:
        arguments = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        return bool(arguments) and isinstance(arguments[0], str) and ";16" in arguments[0]
    return False


def _of_high_bytes(rgb: Image.Image, value_range: tuple[float, float] | None) -> tuple[Image.Image, str | None]:
    if value_range is not None:
        samples = np.asarray(rgb).astype(np.uint16) * _OF_A_BYTE
        return Image.fromarray(scaled(samples, value_range)), None
    found = few_bits((max(high for _, high in rgb.getextrema()) << 8) + 255)  # type: ignore[misc]
    return rgb, f"{found}; of colours, Pillow keeps only the upper 8 of 16 bits" if found else None
