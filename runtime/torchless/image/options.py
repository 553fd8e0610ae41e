"""How images are read. Importing it costs nothing: the command line takes its defaults from here."""

import re
from math import isfinite
from typing import Literal

from torchless.errors import UsageError
from torchless.records import dataclass

Decode = Literal["exact", "fast"]
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?"
_RANGE = re.compile(rf"\s*({_NUMBER}):({_NUMBER})\s*", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class ImageOptions:
    """How images are read.

    `apply_exif`: whether EXIF orientation is applied. `max_pixels`: how many an image may have, before and after
    resizing. `max_bytes`: how many its file may have. `decode`: "exact" gives torchvision's preprocessing bit for bit;
    "fast" lets a large JPEG be decoded at a half, a quarter or an eighth of its size, and resizes the crop alone, both
    with the packages of the extra `fast` if they are installed (docs/images.md says what that costs). `formats`:
    Pillow's names of further formats, whose plugins you registered; they are tried first. `truncated`: whether files
    that end early are read as far as they go. `value_range`: which samples of an image of 16 or 32 bits, or of floats,
    are black and white: (0, 4095) for 12 bits; by default the type's whole range. `background`: a colour for what is
    transparent, a name or "#rrggbb"; by default transparency is dropped. Raises UsageError for a range or a colour
    that is none.
    """

    apply_exif: bool = True
    max_pixels: int = 100_000_000
    max_bytes: int = 1_000_000_000
    decode: Decode = "exact"
    formats: tuple[str, ...] = ()
    truncated: bool = False
    value_range: tuple[float, float] | None = None
    background: str | None = None

    def __post_init__(self) -> None:
        if self.value_range is not None:
            _check_range(self.value_range)
        if self.background is not None:
            _check_colour(self.background)


def parse_value_range(text: str) -> tuple[float, float]:
    """Black and white of "0:4095". Raises UsageError."""
    match = _RANGE.fullmatch(text)
    if match is None:
        raise UsageError(f"`value_range` takes the values of black and white, such as 0:4095 or -1:1; got {text!r}")
    black, white = float(match[1]), float(match[2])
    _check_range((black, white))
    return black, white


def _check_range(value_range: tuple[float, float]) -> None:
    black, white = value_range
    if not (isfinite(black) and isfinite(white) and black < white):
        raise UsageError(f"the first of `value_range` must be less than the second; got {black:g}:{white:g}")


def _check_colour(colour: str) -> None:
    from PIL import ImageColor

    try:
        ImageColor.getrgb(colour)
    except (ValueError, AttributeError):
        raise UsageError(f"`background` takes a colour, such as white or #ffcc00; got {colour!r}") from None
