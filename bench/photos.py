"""JPEGs of any size from scikit-image's photos: random crops, resized, with a camera's noise, quality 90."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import skimage
from PIL import Image

PHOTOS = (
    "astronaut.png",
    "camera.png",
    "chelsea.png",
    "coffee.png",
    "color.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "motorcycle_left.png",
    "retina.jpg",
    "rocket.jpg",
)
NOISE, QUALITY, LEAST_SHARE = 4.0, 90, 0.5


def make_folder(folder: Path, count: int, size: tuple[int, int]) -> Path:
    """`count` JPEGs of `size`, all different; those that are there already stay."""
    folder.mkdir(parents=True, exist_ok=True)
    if len(list(folder.iterdir())) < count:
        for number, data in enumerate(make_jpegs(count, size)):
            (folder / f"{number:05}.jpg").write_bytes(data)
    return folder


def make_jpegs(count: int, size: tuple[int, int]) -> Iterator[bytes]:
    """The bytes of `count` JPEGs of `size` (width, height): every photo in turn, always the same."""
    chance = np.random.default_rng(0)
    photos = [
        Image.open(path).convert("RGB") for name in PHOTOS if (path := Path(skimage.data_dir) / name).is_file()
    ]  # some come on demand
    for number in range(count):
        yield encode(
            _crop(photos[number % len(photos)], size[0] / size[1], chance).resize(size, Image.Resampling.BICUBIC),
            chance,
        )


def encode(photo: Image.Image, chance: np.random.Generator) -> bytes:
    """The photo as a JPEG, with noise: enlarged, it would be smoother than a camera's picture, and decode faster."""
    noise = chance.normal(0, NOISE, (photo.height, photo.width, 1)).astype(np.float32)
    buffer = io.BytesIO()
    Image.fromarray((np.asarray(photo) + noise).clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def _crop(photo: Image.Image, aspect: float, chance: np.random.Generator) -> Image.Image:
    """A random part of that aspect (width ÷ height), at least half as large as would fit."""
    width = min(photo.width, photo.height * aspect) * chance.uniform(LEAST_SHARE, 1)
    left, top = chance.uniform(0, photo.width - width), chance.uniform(0, photo.height - width / aspect)
    return photo.crop((int(left), int(top), int(left + width), int(top + width / aspect)))
