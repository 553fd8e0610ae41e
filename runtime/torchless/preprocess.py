"""RGB image → float32 tensor, in numpy and Pillow, bit for bit what torchvision's `ImageClassification` preset gives for a Pillow image.

The rules are those of torchvision 0.29: transforms/_presets.py (the order of the steps), transforms/functional.py
(`_compute_resized_output_size`, `center_crop`) and transforms/_functional_pil.py (Pillow's own resize, which always antialiases).
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from torchless.images import DEFAULT_MAX_PIXELS, check_pixels
from torchless.manifest import Preprocess

_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "nearest-exact": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
    "lanczos": Image.Resampling.LANCZOS,
}


def preprocess(image: Image.Image, spec: Preprocess, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> NDArray[np.float32]:
    """An 8-bit RGB image as the model's input: resized, centre-cropped, scaled to 0..1, normalised; float32 (3, crop_size, crop_size).

    Raises ImageTooLargeError for an image so narrow that resizing its short side makes the long one pass `max_pixels` in all.
    """
    check_pixels(spec.crop_size, spec.crop_size, max_pixels, "cropped for the model, the image would have")
    cropped = center_crop(resize(image, spec, max_pixels=max_pixels), spec.crop_size)
    return normalize(np.asarray(cropped), spec)


def resize(image: Image.Image, spec: Preprocess, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> Image.Image:
    """The image with its short side at `spec.resize_size` pixels and its proportions kept."""
    size = resized_size(image.width, image.height, spec.resize_size)
    check_pixels(*size, max_pixels, "resized for the model, the image would have")
    return image.resize(size, _RESAMPLING[spec.interpolation])


def resized_size(width: int, height: int, resize_size: int) -> tuple[int, int]:
    """(width, height) after resizing the short side; the long side is cut off, not rounded, as in torchvision."""
    short, long = sorted((width, height))
    new_long = int(resize_size * long / short)
    return (resize_size, new_long) if width <= height else (new_long, resize_size)


def center_crop(image: Image.Image, crop_size: int) -> Image.Image:
    """The middle square. An image smaller than that is padded with black first, the odd pixel to the right and below."""
    width, height = max(image.width, crop_size), max(image.height, crop_size)
    left, top = -((width - image.width) // 2), -((height - image.height) // 2)
    # round() is Python's, half to even: a margin of 0.5 becomes 0, one of 1.5 becomes 2.
    left += round((width - crop_size) / 2.0)
    top += round((height - crop_size) / 2.0)
    return image.crop((left, top, left + crop_size, top + crop_size))


def normalize(pixels: NDArray[np.uint8], spec: Preprocess) -> NDArray[np.float32]:
    """uint8 (H, W, 3) → float32 (3, H, W): (value / 255 - mean) / std for each channel, through a table of the 256 values."""
    out = np.empty((3, *pixels.shape[:2]), dtype=np.float32)
    for channel, table in enumerate(_tables(spec.mean, spec.std)):
        np.take(table, pixels[:, :, channel], out=out[channel], mode="clip")
    return out


@lru_cache(maxsize=64)
def _tables(mean: tuple[float, ...], std: tuple[float, ...]) -> NDArray[np.float32]:
    """(3, 256) float32; each step is rounded to float32, as torch does."""
    scaled = np.arange(256, dtype=np.float32) / np.float32(255)
    means, stds = (np.array(values, dtype=np.float32)[:, None] for values in (mean, std))
    tables: NDArray[np.float32] = (scaled - means) / stds
    return tables
