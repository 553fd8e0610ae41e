"""torchvision's preprocessing transforms ↔ the manifest's Preprocess. The numbers are read from the transform, never from memory."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms._presets import ImageClassification

from torchless.errors import UsageError
from torchless.manifest import Interpolation, Preprocess, parse_interpolation

Transform = Callable[[Image.Image], torch.Tensor]


def read_preset(transform: Any) -> Preprocess:
    """The numbers inside torchvision's `ImageClassification` transform, which is what `weights.transforms()` gives for a classifier.

    Raises UsageError for any other transform, since nothing could prove that torchless prepares images as it does.
    """
    if not isinstance(transform, ImageClassification):
        raise UsageError(
            "the preprocessing must be torchless.manifest.Preprocess or torchvision.transforms._presets.ImageClassification, "
            f"got {type(transform).__name__}"
        )
    return Preprocess(
        resize_size=transform.resize_size[0],
        crop_size=transform.crop_size[0],
        mean=tuple(transform.mean),
        std=tuple(transform.std),
        interpolation=parse_interpolation(transform.interpolation.value),
    )


@dataclass(frozen=True, kw_only=True)
class PreprocessChanges:
    """What the user wants otherwise than the preset has it; None leaves it as it is. Names and units are those of `Preprocess`."""

    image_size: int | None = None
    resize_size: int | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    interpolation: Interpolation | None = None

    def apply(self, spec: Preprocess) -> Preprocess:
        """`spec` with the changes. Another image size takes the resize size along in proportion, unless that is given too."""
        crop_size = self.image_size or spec.crop_size
        resize_size = self.resize_size or round(spec.resize_size * crop_size / spec.crop_size)
        return replace(
            spec,
            crop_size=crop_size,
            resize_size=resize_size,
            mean=self.mean or spec.mean,
            std=self.std or spec.std,
            interpolation=self.interpolation or spec.interpolation,
        )


def torchvision_transform(spec: Preprocess) -> Transform:
    """torchvision's own transform with these numbers: what the runtime's preprocessing is compared with."""
    transform: Transform = ImageClassification(
        crop_size=spec.crop_size,
        resize_size=spec.resize_size,
        mean=spec.mean,
        std=spec.std,
        interpolation=InterpolationMode(spec.interpolation),
    )
    return transform
