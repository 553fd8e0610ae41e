"""What `preprocess` gives, bit for bit, with less work: pixels that the centre crop leaves out are not resized if that
is safe.

Three shortcuts: an axis on which Pillow's box is exact is resized for the crop alone (`_Axis`); Pillow's two passes run
one by one on the rows that the crop needs (`_strip`); and numbers are normalised in place, channel by channel
(`_normalize`). tests/runtime/image/test_exact_crop.py compares all of them with `preprocess`. With `decode` "fast" the
crop is resized straight from its place in the image, which is not exact.
"""

import math
from typing import NamedTuple

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image

from torchless.errors import ImageSizeError
from torchless.image.limits.pixels import check_pixels
from torchless.image.options import Decode, ImageOptions
from torchless.image.preprocess import RESAMPLING, center_crop, crop_start, fill_of, resize, resized_size
from torchless.model.preprocessing import Preprocess

# The filters' support in pixels of the resized image (Pillow's src/libImaging/Resample.c). NEAREST takes another path
# through Pillow.
_SUPPORT = {"bilinear": 1, "bicubic": 2, "box": 0.5, "hamming": 1, "lanczos": 3}
# The order of the two passes matters to the last bit, and a Pillow newer than those read may choose another.
_PASSES_ARE_KNOWN = int(PIL.__version__.split(".")[0]) <= 13
# Up to here, copying the rows that the crop needs is faster than resizing those that it does not need (measured:
# bench/preprocess.py).
_STRIP_MAX_PIXELS = 1_500_000


def preprocess_crop(
    image: Image.Image, spec: Preprocess, *, max_pixels: int = ImageOptions.max_pixels, decode: Decode = "exact"
) -> NDArray[np.float32]:
    """An 8-bit RGB image as the model's input, float32 (channels, height, width).

    With `decode` "exact" bit for bit what `preprocess` gives; with "fast" a few values in 10,000 differ by 1/255.
    Raises ImageTooLargeError for an image so narrow that, resized, it would have more than `max_pixels`.
    """
    if spec.crop is not None:
        check_pixels(spec.crop[1], spec.crop[0], max_pixels, "cropped for the model, the image would have")
    check_pixels(
        *resized_size(image.width, image.height, spec.resize), max_pixels, "resized for the model, the image would have"
    )
    grey = image.convert("L") if spec.grayscale == "first" else image
    return _normalize((_fast_crop if decode == "fast" else _exact_crop)(grey, spec), spec)


def check_size(image: Image.Image, spec: Preprocess, size: tuple[int, int]) -> None:
    """Raises ImageSizeError for an image that `spec`, which fits none to it, does not make `size` (height, width)."""
    width, height = resized_size(image.width, image.height, spec.resize)
    if (height, width) != size:
        raise ImageSizeError(
            f"the model takes images of {size[1]}×{size[0]} pixels and does not crop; with its resize ({spec.resize}) "
            f"this one has {width}×{height}"
        )


class _Axis(NamedTuple):
    """One axis on its way from `source` pixels to `size` pixels, of which the crop takes `crop` from `start` on."""

    source: int
    size: int
    start: int
    crop: int

    @property
    def box(self) -> tuple[float, float]:
        """The crop's place in the source, in source pixels."""
        return self.start * self.source / self.size, (self.start + self.crop) * self.source / self.size

    @property
    def box_is_exact(self) -> bool:
        """Whether Pillow, which keeps a box in float32, finds the very same weights for the crop alone as for the whole
        axis.

        It does where the scale is a binary fraction with few digits: then no number on the way is rounded.
        """
        denominator = self.size // math.gcd(self.source, self.size)
        return denominator & (denominator - 1) == 0 and self.source * denominator < 1 << 20

    @property
    def exact(self) -> "_Axis":
        """The axis as it is resized: for the crop alone if its box is exact, otherwise as a whole."""
        return _Axis(self.source, self.crop, 0, self.crop) if self.box_is_exact else self

    @property
    def exact_box(self) -> tuple[float, float]:
        """The source pixels of `exact`."""
        return self.box if self.box_is_exact else (0.0, float(self.source))

    def needed(self, support: float) -> tuple[int, int]:
        """The first source pixel that the crop depends on, and the one after the last, with a thousandth of a pixel to
        spare.

        Pillow finds them around the centres of the crop's first and last pixel (Resample.c, precompute_coeffs). All of
        `box` is in between.
        """
        scale = self.source / self.size
        (first, last), reach = self.box, max(0, support * max(scale, 1) - scale / 2 - 0.5 + 1e-3)
        return max(0, math.floor(first - reach)), min(self.source, math.floor(last + reach + 1))


def _axes(image: Image.Image, crop: tuple[int, int], spec: Preprocess) -> tuple[_Axis, _Axis]:
    """Columns and rows, if `crop` (height, width) is taken from the middle of the resized image."""
    width, height = resized_size(image.width, image.height, spec.resize)
    return _Axis(image.width, width, crop_start(width, crop[1], spec.centering), crop[1]), _Axis(
        image.height, height, crop_start(height, crop[0], spec.centering), crop[0]
    )


def _whole_crop(image: Image.Image, spec: Preprocess) -> Image.Image:
    """The centre crop of the resized image, without a shortcut: as `preprocess` does it."""
    resized = resize(image, spec)
    return (
        center_crop(resized, spec.crop, fill_of(image.mode, spec), spec.centering) if spec.crop is not None else resized
    )


def _is_part(crop: tuple[int, int], image: Image.Image, spec: Preprocess) -> bool:
    """Whether `crop` (height, width) is all or a part of an image that is resized with a filter."""
    width, height = resized_size(image.width, image.height, spec.resize)
    return spec.interpolation in _SUPPORT and (width, height) != image.size and crop[0] <= height and crop[1] <= width


def _fast_crop(image: Image.Image, spec: Preprocess) -> Image.Image:
    """The same to within 1/255 in nearly all pixels, resized straight from the crop's place in the image."""
    from torchless.image.fast import resize_box

    crop = spec.crop or resized_size(image.width, image.height, spec.resize)[::-1]
    if not _is_part(crop, image, spec):
        return _whole_crop(image, spec)
    columns, rows = _axes(image, crop, spec)
    (left, right), (top, bottom) = columns.box, rows.box
    size, box = crop[::-1], (left, top, right, bottom)
    resized = resize_box(image, size, spec.interpolation, box, rows.needed(_SUPPORT[spec.interpolation]))
    return image.resize(size, RESAMPLING[spec.interpolation], box) if resized is None else resized


def _exact_crop(image: Image.Image, spec: Preprocess) -> Image.Image:
    """The same bits as `_whole_crop`."""
    crop, resample = spec.crop, RESAMPLING[spec.interpolation]
    if crop is None or not _is_part(crop, image, spec):
        return _whole_crop(image, spec)
    columns, rows = _axes(image, crop, spec)
    across, down, size = columns.exact, rows.exact, (columns.size, rows.size)
    if not (_resizes_across_first(image.size, size) and _resizes_across_first(image.size, (across.size, down.size))):
        return _whole_crop(image, spec)
    if image.width * image.height <= _STRIP_MAX_PIXELS:
        return _strip(image, columns, rows, resample, _SUPPORT[spec.interpolation])
    (left, right), (top, bottom) = columns.exact_box, rows.exact_box
    resized = image.resize((across.size, down.size), resample, (left, top, right, bottom))
    return resized.crop((across.start, down.start, across.start + columns.crop, down.start + rows.crop))


def _resizes_across_first(before: tuple[int, int], after: tuple[int, int]) -> bool:
    """Whether Pillow's first pass is certainly the one across: always before Pillow 13, since then unless the image is
    tall.
    """
    lost_width, lost_height = before[0] - after[0], before[1] - after[1]
    return _PASSES_ARE_KNOWN and not (lost_height > 0 and lost_height > 2 * lost_width)


def _strip(image: Image.Image, columns: _Axis, rows: _Axis, resample: Image.Resampling, support: float) -> Image.Image:
    """Pillow's two passes, first across and then down, one by one, so that each works only on what the crop needs.

    The same bits as in one go, if that goes across first: Pillow too rounds to 8 bits between its passes, and what the
    second pass reads outside the strip only reaches rows outside the crop.
    """
    (left, right), across, crop = columns.exact_box, columns.exact, (columns.crop, rows.crop)
    first, last = rows.needed(support)
    strip = image.crop((0, first, image.width, last)).resize(
        (across.size, last - first), resample, (left, 0, right, last - first)
    )
    strip = strip.crop((across.start, 0, across.start + columns.crop, last - first))
    if rows.box_is_exact:
        top, bottom = rows.box
        return strip.resize(crop, resample, (0, top - first, columns.crop, bottom - first))
    whole = Image.new(image.mode, (columns.crop, rows.source))
    whole.paste(strip, (0, first))
    return whole.resize((columns.crop, rows.size), resample).crop((0, rows.start, columns.crop, rows.start + rows.crop))


def _normalize(image: Image.Image, spec: Preprocess) -> NDArray[np.float32]:
    """float32 (channels, H, W): (value / 255 - mean) / std for each channel, each step rounded to float32.

    In place and channel by channel: Pillow splits channels faster than numpy, and numpy does these steps faster than it
    looks up 256 values in a table (bench/preprocess.py).
    """
    planes = _planes(image, spec)
    out = np.empty((spec.channels, image.height, image.width), dtype=np.float32)
    for channel, pixels in enumerate(planes):
        plane = out[channel]
        plane[...] = np.frombuffer(pixels.tobytes(), dtype=np.uint8).reshape(plane.shape)
        if spec.scale == "divide":
            plane /= np.float32(255)
        else:
            plane *= np.float32(1 / 255)
        plane -= np.float32(spec.mean[channel])
        plane /= np.float32(spec.std[channel])
    return out


def _planes(image: Image.Image, spec: Preprocess) -> tuple[Image.Image, ...]:
    """One image for each channel; the grey one for all, where colours become grey."""
    if spec.grayscale is None:
        return image.split()
    return (image.convert("L") if image.mode != "L" else image,) * spec.channels
