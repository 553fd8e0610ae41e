"""The test images of an export: real photos that ship with torchless, noise, and odd sizes and modes made from them."""

import hashlib
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from importlib.resources import files
from os import PathLike, fsdecode
from pathlib import Path

import numpy as np
from PIL import Image

from torchless.engine.results import Input
from torchless.errors import ImageError, ImageReadError, UsageError
from torchless.image.decode import ImageLike, load_rgb
from torchless.image.limits.pixels import check_pixels
from torchless.image.options import ImageOptions
from torchless.image.preprocess import resized_size
from torchless.model.manifest import ImageRecord
from torchless.model.preprocessing import Preprocess

# (width, height): one pixel, a tall one that Pillow resizes down first, a thin one, odd margins for the crop, sizes at
# and around those that the presets resize to.
ODD_SIZES = (
    (1, 1),
    (3, 2),
    (600, 1900),
    (500, 33),
    (224, 224),
    (225, 227),
    (231, 233),
    (256, 256),
    (257, 255),
    (641, 427),
)
MODES = ("1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr")
# Small ones become soft blobs when they are resized for the model: fine noise alone looks much the same to some
# networks.
_NOISE_SIZES = ((320, 240), (24, 32), (224, 224), (9, 7), (97, 103), (256, 256), (48, 40), (640, 480))

YOURS = "yours"
_THUMBNAIL_PIXELS = 160


@dataclass(frozen=True)
class TestImage:
    """An upright RGB image, and what the manifest says of it."""

    record: ImageRecord
    image: Image.Image

    def resized(self, size: tuple[int, int]) -> "TestImage":
        """The same at `size`, (height, width)."""
        return replace(self, image=self.image.resize(size[::-1]))

    def thumbnail(self) -> bytes:
        """A small JPEG of it."""
        small, buffer = self.image.copy(), io.BytesIO()
        small.thumbnail((_THUMBNAIL_PIXELS, _THUMBNAIL_PIXELS))
        small.save(buffer, "JPEG", quality=80)
        return buffer.getvalue()


def gate_sets(size: tuple[int, int] | None = None) -> dict[str, list[TestImage]]:
    """The test images of every export, by the name of the set; resized to `size` (height, width) for a network whose
    preprocessing fits no image to it.
    """
    sets = {"random": noise(seed=2), "photos": photos()}
    return sets if size is None else {name: [test.resized(size) for test in tests] for name, tests in sets.items()}


def photos() -> list[TestImage]:
    """Eight photos, RGB, 640 pixels at most; torchless_export/photos/README.md says where they come from."""
    folder = files("torchless_export") / "photos"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".jpg"))
    contents = {name: (folder / name).read_bytes() for name in names}
    return [
        TestImage(ImageRecord(set="photos", name=name, sha256=_sha256(data)), load_rgb(data))
        for name, data in contents.items()
    ]


def noise(seed: int) -> list[TestImage]:
    """Eight images of independent uniform noise, fine and coarse, seeded."""
    generator = np.random.default_rng(seed)
    arrays = [generator.integers(0, 256, (height, width, 3), dtype=np.uint8) for width, height in _NOISE_SIZES]
    return [
        TestImage(
            ImageRecord(set="random", name=f"noise {seed}/{number}", sha256=_sha256(array.tobytes())),
            Image.fromarray(array),
        )
        for number, array in enumerate(arrays)
    ]


def from_inputs(inputs: Iterable[Input], spec: Preprocess, *, failures: list[str]) -> Iterator[TestImage]:
    """The user's images, read one at a time; `failures` gets a line for each that cannot be used."""
    for item in inputs:
        name = item.name or "image"
        try:
            data = _bytes_of(item)
            image = load_rgb(data)
            check_pixels(
                *resized_size(image.width, image.height, spec.resize),
                ImageOptions.max_pixels,
                "resized, the image would have",
            )
        except ImageError as error:
            failures.append(str(error) if name in str(error) else f"{name}: {error}")
        else:
            yield TestImage(ImageRecord(set=YOURS, name=name, sha256=_sha256(data)), image)


def from_examples(examples: Iterable[ImageLike]) -> list[TestImage]:
    """The user's images: paths, bytes, Pillow images or uint8 arrays (H, W, 3). Raises UsageError for the first that
    cannot be used.
    """
    return [_example(number, example) for number, example in enumerate(examples)]


def _example(number: int, example: ImageLike) -> TestImage:
    path = fsdecode(example) if isinstance(example, str | PathLike) else None
    name = path or f"example {number}"
    try:
        image = load_rgb(example)
        data = image.tobytes() if path is None else _bytes_of(Input(path, path))
    except ImageError as error:
        raise UsageError(f"`examples`: {error if name in str(error) else f'{name}: {error}'}") from error
    return TestImage(ImageRecord(set=YOURS, name=Path(name).name, sha256=_sha256(data)), image)


def _bytes_of(item: Input) -> bytes:
    content = item.image() if callable(item.image) else item.image
    if isinstance(content, bytes):
        return content
    if not isinstance(content, str):
        raise ImageReadError(item.error or "there is no image")
    try:
        return Path(content).read_bytes()
    except (OSError, ValueError) as error:
        raise ImageReadError(f"cannot read {content}: {getattr(error, 'strerror', None) or error}") from None


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def preprocessing_cases(
    spec: Preprocess, size: tuple[int, int] | None = None
) -> Iterator[tuple[str, Image.Image, Image.Image]]:
    """(what it is, the image for the runtime, the RGB image for torchvision), over photos, sizes and modes.

    `size` (height, width) is that of the network's images where `spec` fits none to it: all images then have its shape.
    """
    originals = [photo.image for photo in (photos() if size is None else gate_sets(size)["photos"])]
    for number, photo in enumerate(originals):
        yield f"photo {number}", photo, photo
    for number, wanted in enumerate(ODD_SIZES if size is None else _multiples(size, spec)):
        resized = originals[number % len(originals)].resize(wanted)
        yield f"{wanted[0]}×{wanted[1]}", resized, resized
    for number, mode in enumerate(MODES):
        converted = originals[number % len(originals)].convert(mode)
        yield f"mode {mode}", converted, converted.convert("RGB")
    grey = originals[0].convert("L")
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    yield f"mode {deep.mode}", deep, grey.convert("RGB")


def _multiples(size: tuple[int, int], spec: Preprocess) -> list[tuple[int, int]]:
    """Sizes (width, height) of images that `spec` brings to `size`."""
    return [(size[1] * factor, size[0] * factor) for factor in (2, 3) if spec.resize.mode != "none"]
