"""RGB image → float32 tensor: torchvision's `ImageClassification` preset in numpy and Pillow, to be read and checked
against torchvision.

Here each step stands as torchvision writes it. The runtime calls `exact_crop.preprocess_crop`, which gives the same
bits with less work. The rules are those of torchvision 0.29: transforms/_presets.py (the order of the steps),
transforms/functional.py (`_compute_resized_output_size`, `center_crop`) and transforms/_functional_pil.py (Pillow's own
resize, which always antialiases).
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from torchless.model.manifest import Preprocess

RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "nearest-exact": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
    "lanczos": Image.Resampling.LANCZOS,
}


def preprocess(image: Image.Image, spec: Preprocess) -> NDArray[np.float32]:
    """An 8-bit RGB image as the model's input, float32 (3, crop_size, crop_size): bit for bit what torchvision gives.

    Every operation on floats rounds to float32, as torch does.
    """
    resized = image.resize(resized_size(image.width, image.height, spec.resize_size), RESAMPLING[spec.interpolation])
    cropped = center_crop(resized, spec.crop_size)
    values = np.asarray(cropped, np.float32) / np.float32(255)  # (H, W, 3), 0 to 1
    normalized = (values - np.array(spec.mean, np.float32)) / np.array(spec.std, np.float32)
    return np.ascontiguousarray(normalized.transpose(2, 0, 1))


def resized_size(width: int, height: int, resize_size: int) -> tuple[int, int]:
    """(width, height) after the short side is resized to `resize_size`. As in torchvision, the long side is truncated,
    not rounded.
    """
    short, long = sorted((width, height))
    new_long = int(resize_size * long / short)
    return (resize_size, new_long) if width <= height else (new_long, resize_size)


def center_crop(image: Image.Image, crop_size: int) -> Image.Image:
    """The middle square. An image smaller than that is first padded with black; an odd pixel of padding goes right or
    below.
    """
    width, height = max(image.width, crop_size), max(image.height, crop_size)
    left = crop_start(width, crop_size) - (width - image.width) // 2
    top = crop_start(height, crop_size) - (height - image.height) // 2
    return image.crop((left, top, left + crop_size, top + crop_size))


def crop_start(size: int, crop_size: int) -> int:
    """The crop's first pixel on an axis of `size` pixels, rounded half to even: a margin of 0.5 becomes 0, one of 1.5
    becomes 2.
    """
    return round((size - crop_size) / 2.0)
