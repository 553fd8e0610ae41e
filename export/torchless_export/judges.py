"""The images that judge an export: real photos that ship with torchless, noise, and odd sizes and modes made from them."""

from collections.abc import Iterator
from importlib.resources import files

import numpy as np
import torch
from PIL import Image

from torchless.images import load_rgb
from torchless_export.presets import Transform

# (width, height): one pixel, thin ones, odd margins for the crop, sizes at and around those the presets resize to.
ODD_SIZES = ((1, 1), (3, 2), (31, 500), (500, 33), (224, 224), (225, 227), (231, 233), (256, 256), (257, 255), (641, 427))
MODES = ("1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr")
# Small ones become soft blobs when they are resized for the model: fine noise alone looks much the same to some networks.
_NOISE_SIZES = ((320, 240), (24, 32), (224, 224), (9, 7), (97, 103), (256, 256), (48, 40), (640, 480))


def photos() -> list[Image.Image]:
    """Eight photos, RGB, 640 pixels at most; torchless_export/photos/README.md tells where they are from."""
    folder = files("torchless_export") / "photos"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".jpg"))
    return [load_rgb((folder / name).read_bytes()) for name in names]


def noise(seed: int) -> list[Image.Image]:
    """Eight images of independent uniform noise, fine and coarse, seeded."""
    generator = np.random.default_rng(seed)
    return [Image.fromarray(generator.integers(0, 256, (height, width, 3), dtype=np.uint8)) for width, height in _NOISE_SIZES]


def preprocessing_cases() -> Iterator[tuple[str, Image.Image, Image.Image]]:
    """(what it is, the image for the runtime, the RGB image for torchvision), over photos, sizes and modes."""
    originals = photos()
    for number, photo in enumerate(originals):
        yield f"photo {number}", photo, photo
    for number, size in enumerate(ODD_SIZES):
        resized = originals[number % len(originals)].resize(size)
        yield f"{size[0]}×{size[1]}", resized, resized
    for number, mode in enumerate(MODES):
        converted = originals[number % len(originals)].convert(mode)
        yield f"mode {mode}", converted, converted.convert("RGB")
    grey = originals[0].convert("L")
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    yield f"mode {deep.mode}", deep, grey.convert("RGB")


def calibration_batch(transform: Transform) -> torch.Tensor:
    """Photos and noise as a batch, (16, 3, crop, crop) float32: what an untrained model's scale is set on."""
    return torch.stack([transform(image) for image in (*photos(), *noise(seed=1))])
