"""RGB image → float32 tensor, in numpy and Pillow, bit for bit what torchvision's `ImageClassification` preset gives for a Pillow image.

The rules are those of torchvision 0.29: transforms/_presets.py (the order of the steps), transforms/functional.py
(`_compute_resized_output_size`, `center_crop`) and transforms/_functional_pil.py (Pillow's own resize, which always antialiases).
"""

import math
from typing import NamedTuple

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image

from torchless.image.decode import DEFAULT_MAX_PIXELS, Decode, check_pixels
from torchless.model.manifest import Preprocess

_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "nearest-exact": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
    "lanczos": Image.Resampling.LANCZOS,
}
# The filters' support in pixels of the resized image (Pillow's src/libImaging/Resample.c). NEAREST takes another path through Pillow.
_SUPPORT = {"bilinear": 1, "bicubic": 2, "box": 0.5, "hamming": 1, "lanczos": 3}
# In which order a Pillow newer than those read resizes the two axes is not known, and it matters to the last bit.
_PASSES_ARE_KNOWN = int(PIL.__version__.split(".")[0]) <= 13
# Up to here, copying the rows that the crop needs costs less than resizing those that it does not need (measured: bench/preprocess.py).
_STRIP_MAX_PIXELS = 1_500_000


def preprocess(image: Image.Image, spec: Preprocess, *, max_pixels: int = DEFAULT_MAX_PIXELS, decode: Decode = "exact") -> NDArray[np.float32]:
    """An 8-bit RGB image as the model's input: resized, centre-cropped, scaled to 0..1, normalised; float32 (3, crop_size, crop_size).

    With `decode` "exact" bit for bit as torchvision; with "fast" the crop is resized straight from its place in the image, which moves a few
    values in 10,000 by 1/255. Raises ImageTooLargeError for an image so narrow that resizing its short side makes the long one pass
    `max_pixels` in all.
    """
    check_pixels(spec.crop_size, spec.crop_size, max_pixels, "cropped for the model, the image would have")
    size = resized_size(image.width, image.height, spec.resize_size)
    check_pixels(*size, max_pixels, "resized for the model, the image would have")
    return normalize(_resized_crop(image, size, spec, decode), spec)


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
        """Whether Pillow, which keeps a box in float32, finds the very same weights for the crop alone as for the whole axis.

        So it is where the scale is a binary fraction of few digits: then no number on the way is rounded.
        """
        denominator = self.size // math.gcd(self.source, self.size)
        return denominator & (denominator - 1) == 0 and self.source * denominator < 1 << 20

    @property
    def exact(self) -> "_Axis":
        """The most that a resize may leave out of this axis: the crop alone if its box is exact, otherwise nothing."""
        return _Axis(self.source, self.crop, 0, self.crop) if self.box_is_exact else self

    @property
    def exact_box(self) -> tuple[float, float]:
        """The source pixels of `exact`."""
        return self.box if self.box_is_exact else (0.0, float(self.source))

    def needed(self, support: float) -> tuple[int, int]:
        """The first source pixel that the crop depends on, and the one after the last: as Pillow finds them around its first pixel's centre
        and its last one's (Resample.c, precompute_coeffs), with a thousandth of a pixel to spare. All of `box` is in it.
        """
        scale = self.source / self.size
        (first, last), reach = self.box, max(0, support * max(scale, 1) - scale / 2 - 0.5 + 1e-3)
        return max(0, math.floor(first - reach)), min(self.source, math.floor(last + reach + 1))


def _resized_crop(image: Image.Image, size: tuple[int, int], spec: Preprocess, decode: Decode) -> Image.Image:
    """The centre crop of the image resized to `size`, without resizing what the crop leaves out, as far as `decode` allows."""
    crop, resample = spec.crop_size, _RESAMPLING[spec.interpolation]
    if spec.interpolation not in _SUPPORT or crop > min(size):
        return center_crop(image.resize(size, resample), crop)
    columns = _Axis(image.width, size[0], _crop_start(size[0], crop), crop)
    rows = _Axis(image.height, size[1], _crop_start(size[1], crop), crop)
    if decode == "fast":
        return image.resize((crop, crop), resample, (columns.box[0], rows.box[0], columns.box[1], rows.box[1]))
    (left, right), (top, bottom) = columns.exact_box, rows.exact_box
    across, down = columns.exact, rows.exact
    if not (_resizes_across_first(image.size, size) and _resizes_across_first(image.size, (across.size, down.size))):
        return center_crop(image.resize(size, resample), crop)
    if image.width * image.height <= _STRIP_MAX_PIXELS:
        return _resize_strip(image, columns, rows, resample, _SUPPORT[spec.interpolation])
    resized = image.resize((across.size, down.size), resample, (left, top, right, bottom))
    return resized.crop((across.start, down.start, across.start + crop, down.start + crop))


def _resizes_across_first(before: tuple[int, int], after: tuple[int, int]) -> bool:
    """Whether Pillow's first pass is the one across, for sure: always so before Pillow 13, but for tall images since; unknown in later ones."""
    lost_width, lost_height = before[0] - after[0], before[1] - after[1]
    return _PASSES_ARE_KNOWN and not (lost_height > 0 and lost_height > 2 * lost_width)


def _resize_strip(image: Image.Image, columns: _Axis, rows: _Axis, resample: Image.Resampling, support: float) -> Image.Image:
    """Pillow's two passes, first across and then down, one by one, so that each works on what the crop needs and no more.

    The same bits as in one go, if that goes across first: Pillow too rounds to 8 bits between its passes, and what the second pass reads
    outside the strip only reaches rows outside the crop.
    """
    (left, right), across, crop = columns.exact_box, columns.exact, columns.crop
    first, last = rows.needed(support)
    strip = image.crop((0, first, image.width, last)).resize((across.size, last - first), resample, (left, 0, right, last - first))
    strip = strip.crop((across.start, 0, across.start + crop, last - first))
    if rows.box_is_exact:
        top, bottom = rows.box
        return strip.resize((crop, crop), resample, (0, top - first, crop, bottom - first))
    whole = Image.new("RGB", (crop, rows.source))
    whole.paste(strip, (0, first))
    return whole.resize((crop, rows.size), resample).crop((0, rows.start, crop, rows.start + crop))


def _crop_start(size: int, crop: int) -> int:
    return round((size - crop) / 2.0)  # Python's, half to even: a margin of 0.5 becomes 0, one of 1.5 becomes 2


def resized_size(width: int, height: int, resize_size: int) -> tuple[int, int]:
    """(width, height) after resizing the short side; the long side is cut off, not rounded, as in torchvision."""
    short, long = sorted((width, height))
    new_long = int(resize_size * long / short)
    return (resize_size, new_long) if width <= height else (new_long, resize_size)


def center_crop(image: Image.Image, crop_size: int) -> Image.Image:
    """The middle square. An image smaller than that is padded with black first, the odd pixel to the right and below."""
    width, height = max(image.width, crop_size), max(image.height, crop_size)
    left, top = -((width - image.width) // 2), -((height - image.height) // 2)
    left += _crop_start(width, crop_size)
    top += _crop_start(height, crop_size)
    return image.crop((left, top, left + crop_size, top + crop_size))


def normalize(image: Image.Image, spec: Preprocess) -> NDArray[np.float32]:
    """An RGB image as float32 (3, H, W): (value / 255 - mean) / std for each channel, each step rounded to float32, as torch does.

    Channel by channel, and in place: Pillow takes the channels apart faster than numpy, and numpy does these steps faster than it looks
    256 values up in a table (bench/preprocess.py).
    """
    out = np.empty((3, image.height, image.width), dtype=np.float32)
    for channel, pixels in enumerate(image.split()):
        plane = out[channel]
        plane[...] = np.frombuffer(pixels.tobytes(), dtype=np.uint8).reshape(plane.shape)
        plane /= np.float32(255)
        plane -= np.float32(spec.mean[channel])
        plane /= np.float32(spec.std[channel])
    return out
