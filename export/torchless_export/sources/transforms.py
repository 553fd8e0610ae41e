"""A user's evaluation transform ↔ the manifest's Preprocess. The numbers are read from the transform, never typed from
memory.
"""

from collections.abc import Callable
from typing import Any

import torch
from PIL import Image
from torchvision import transforms
from torchvision.transforms import InterpolationMode, functional, v2

from torchless.errors import UsageError, first_line
from torchless.model.preprocessing import Preprocess, Resize
from torchless_export.sources.transform_steps import read_steps

Transform = Callable[[Image.Image], torch.Tensor]


def read_transform(transform: Any, *, channels: int = 3) -> Preprocess:
    """What `transform` does, step by step, as numbers: torchvision's Compose (v1 and v2), the presets of its weights,
    or timm's `create_transform`.

    `channels` are those that the network takes. For 1, images are opened as grey ones (Pillow's mode L, as for MNIST)
    where no step makes them grey. Raises UsageError for a step that Preprocess cannot express, naming it.
    `as_transform` gives the callable that the runtime has to equal.
    """
    return read_steps(transform, channels).preprocess()


def as_transform(transform: Any, *, channels: int = 3) -> Transform:
    """`transform` as a function from an RGB image to a plain tensor; `channels` as for `read_transform`.

    It raises UsageError where `transform` fails, or gives no float32 tensor (channels, height, width).
    """
    grey = opens_grey(transform, channels)

    def prepare(image: Image.Image) -> torch.Tensor:
        try:
            prepared = transform(image.convert("L") if grey else image)
        except (Exception, SystemExit) as error:  # it is the user's code
            raise UsageError(f"the transform failed with {type(error).__name__}: {first_line(error)}") from error
        if not isinstance(prepared, torch.Tensor) or prepared.dtype != torch.float32 or prepared.ndim != 3:
            kind = f"{prepared.dtype} {tuple(prepared.shape)}" if isinstance(prepared, torch.Tensor) else type(prepared)
            raise UsageError(f"the transform gives {kind}, not a float32 tensor (channels, height, width)")
        return prepared.as_subclass(torch.Tensor)

    return prepare


def opens_grey(transform: Any, channels: int) -> bool:
    """Whether images are to be opened as grey ones: no step makes them so for a network of one channel."""
    return channels == 1 and read_steps(transform, channels).grayscale is None


def torchvision_transform(spec: Preprocess) -> Transform:
    """torchvision's own transforms with these numbers: what the runtime's preprocessing is compared with."""
    interpolation, grey = InterpolationMode(spec.interpolation), transforms.Grayscale(spec.channels)
    steps: list[Any] = [grey] * (spec.grayscale == "first")
    if spec.resize.mode != "none":
        steps.append(_resize(spec.resize, interpolation))
    steps += [grey] * (spec.grayscale == "after_resize")
    if spec.crop is not None:
        plain = spec.fill is None and spec.centering == "even"
        steps.append(transforms.CenterCrop(spec.crop) if plain else _CropOrPad(spec.crop, spec))
    if spec.scale == "divide":
        steps.append(transforms.ToTensor())
    else:
        steps += [v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)]
    composed: Transform = transforms.Compose([*steps, transforms.Normalize(spec.mean, spec.std)])
    return composed


def _resize(resize: Resize, interpolation: InterpolationMode) -> Any:
    if resize.mode == "exact":
        return v2.Resize(list(resize.size), interpolation)
    if len(resize.size) == 2 or resize.rounding == "nearest":
        return _ResizeKeepRatio(resize, interpolation)
    if resize.mode == "long_side":
        return v2.Resize(None, interpolation, max_size=resize.size[0])
    return v2.Resize(resize.size[0], interpolation)


class _ResizeKeepRatio:
    """As timm's ResizeKeepRatio: both sides rounded to the nearest, in proportion to the box that is covered or fitted
    into.
    """

    def __init__(self, resize: Resize, interpolation: InterpolationMode) -> None:
        self._box, self._interpolation = resize.size * (3 - len(resize.size)), interpolation
        self._choose = max if resize.mode == "long_side" else min

    def __call__(self, image: Image.Image) -> Image.Image:
        sides = image.height, image.width
        ratio = self._choose(side / of_box for side, of_box in zip(sides, self._box, strict=True))
        resized: Image.Image = functional.resize(
            image, [max(1, round(side / ratio)) for side in sides], self._interpolation
        )
        return resized


class _CropOrPad:
    """As timm's CenterCropOrPad: torchvision's CenterCrop, with another colour than black around a smaller image; or
    with its margins rounded down, as transformers does.
    """

    def __init__(self, size: tuple[int, int], spec: Preprocess) -> None:
        self._size, self._fill, self._centering = size, spec.fill or (0, 0, 0), spec.centering

    def __call__(self, image: Image.Image) -> Image.Image:
        missing = [max(0, want - have) for want, have in zip(self._size, (image.height, image.width), strict=True)]
        (above, below), (left, right) = ((side // 2, side - side // 2) for side in missing)
        fill = self._fill if image.mode == "RGB" else self._fill[0]
        padded = functional.pad(image, [left, above, right, below], fill=fill)
        if self._centering == "down":
            top, left = (padded.height - self._size[0]) // 2, (padded.width - self._size[1]) // 2
            padded = functional.crop(padded, top, left, *self._size)
        cropped: Image.Image = functional.center_crop(padded, list(self._size))
        return cropped
