"""RGB image → float32 tensor: torchvision's classification transforms in numpy and Pillow, to be read and checked
against torchvision.

Here each step stands as torchvision writes it. The runtime calls `exact_crop.preprocess_crop`, which gives the same
bits with less work. The rules are those of torchvision 0.29: transforms/_presets.py (the order of the steps),
transforms/functional.py (`_compute_resized_output_size`, `center_crop`) and transforms/_functional_pil.py (Pillow's own
resize, which always antialiases).
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from torchless.model.preprocessing import Centering, Preprocess, Resize

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
    """An 8-bit RGB image as the model's input, float32 (channels, height, width): bit for bit what torchvision gives.

    Every operation on floats rounds to float32, as torch does.
    """
    grey = image.convert("L") if spec.grayscale == "first" else image
    resized = resize(grey, spec)
    if spec.grayscale == "after_resize":
        resized = resized.convert("L")
    cropped = (
        center_crop(resized, spec.crop, fill_of(resized.mode, spec), spec.centering)
        if spec.crop is not None
        else resized
    )
    values = np.asarray(cropped.convert("RGB") if spec.channels == 3 else cropped, np.float32)
    values = values / np.float32(255) if spec.scale == "divide" else values * np.float32(1 / 255)
    values = values.reshape(cropped.height, cropped.width, spec.channels)
    normalized = (values - np.array(spec.mean, np.float32)) / np.array(spec.std, np.float32)
    return np.ascontiguousarray(normalized.transpose(2, 0, 1))


def resize(image: Image.Image, spec: Preprocess) -> Image.Image:
    """The first step: the image in its new size."""
    size = resized_size(image.width, image.height, spec.resize)
    return image if size == image.size else image.resize(size, RESAMPLING[spec.interpolation])


def resized_size(width: int, height: int, resize: Resize) -> tuple[int, int]:
    """(width, height) after `resize`; at least one pixel each."""
    match resize.mode, resize.size:
        case "none", _:
            return width, height
        case "exact", (new_height, new_width):
            return new_width, new_height
        case _, (side,) if resize.rounding == "down":
            known = min(width, height) if resize.mode == "short_side" else max(width, height)
            # As in torchvision, the other side is truncated, not rounded.
            return max(1, int(side * width / known)), max(1, int(side * height / known))
    box_height, box_width = resize.size if len(resize.size) == 2 else resize.size * 2
    ratios = height / box_height, width / box_width
    ratio = min(ratios) if resize.mode == "short_side" else max(ratios)
    return max(1, round(width / ratio)), max(1, round(height / ratio))


def sizes_text(width: int, height: int, spec: Preprocess) -> str:
    """What becomes of an image of that size, in words; sizes are width × height, in pixels."""
    size = resized_size(width, height, spec.resize)
    words = [f"decoded {width}×{height}"]
    if spec.resize.mode != "none":
        words.append(f"resized to {size[0]}×{size[1]}")
    if spec.crop is not None:
        crop = spec.crop[1], spec.crop[0]
        padded = any(given < wanted for given, wanted in zip(size, crop, strict=True))
        words.append(f"{'padded and ' * padded}cropped to {crop[0]}×{crop[1]}")
    return ", ".join(words)


def center_crop(
    image: Image.Image, crop: tuple[int, int], fill: int | tuple[int, ...] = 0, centering: Centering = "even"
) -> Image.Image:
    """The middle (height, width). A smaller image is first padded with `fill`; an odd pixel of padding goes right or
    below.
    """
    crop_height, crop_width = crop
    width, height = max(image.width, crop_width), max(image.height, crop_height)
    if (width, height) != image.size:
        padded = Image.new(image.mode, (width, height), fill)
        padded.paste(image, ((width - image.width) // 2, (height - image.height) // 2))
        image = padded
    left, top = crop_start(width, crop_width, centering), crop_start(height, crop_height, centering)
    return image.crop((left, top, left + crop_width, top + crop_height))


def fill_of(mode: str, spec: Preprocess) -> int | tuple[int, ...]:
    """The colour of padding for an image of Pillow's `mode`, RGB or L."""
    if spec.fill is None:
        return 0
    return spec.fill if mode == "RGB" else spec.fill[0]


def crop_start(size: int, crop_size: int, centering: Centering = "even") -> int:
    """The crop's first pixel on an axis of `size` pixels. A margin of 1.5 becomes 2 with "even", which rounds half to
    even, and 1 with "down".
    """
    return round((size - crop_size) / 2.0) if centering == "even" else (size - crop_size) // 2
