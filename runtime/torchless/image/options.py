"""How images are read. Importing it costs nothing: the command line takes its defaults from here."""

from dataclasses import dataclass
from typing import Literal

Decode = Literal["exact", "fast"]


@dataclass(frozen=True, kw_only=True)
class ImageOptions:
    """How images are read.

    `apply_exif`: whether EXIF orientation is applied. `max_pixels`: how many an image may have, before and after
    resizing. `max_bytes`: how many its file may have. `decode`: "exact" gives torchvision's preprocessing bit for bit;
    "fast" lets a large JPEG be decoded at a half, a quarter or an eighth of its size, and resizes the crop alone
    (docs/images.md says what that costs).
    """

    apply_exif: bool = True
    max_pixels: int = 100_000_000
    max_bytes: int = 1_000_000_000
    decode: Decode = "exact"
