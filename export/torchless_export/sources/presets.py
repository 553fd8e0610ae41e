"""torchvision's preprocessing transforms ↔ the manifest's Preprocess. The numbers are read from the transform, never
typed from memory.
"""

from collections.abc import Callable
from typing import Any

import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms._presets import ImageClassification

from torchless.errors import UsageError
from torchless.model.manifest import Preprocess, parse_interpolation

Transform = Callable[[Image.Image], torch.Tensor]


def read_preset(transform: Any) -> Preprocess:
    """The numbers inside torchvision's `ImageClassification` transform, which is what `weights.transforms()` gives for
    a classifier.

    Raises UsageError for any other transform, since nothing could prove that torchless prepares images in the same way.
    """
    if not isinstance(transform, ImageClassification):
        raise UsageError(
            "the preprocessing must be torchless.model.manifest.Preprocess or "
            f"torchvision.transforms._presets.ImageClassification, got {type(transform).__name__}"
        )
    return Preprocess(
        resize_size=transform.resize_size[0],
        crop_size=transform.crop_size[0],
        mean=tuple(transform.mean),
        std=tuple(transform.std),
        interpolation=parse_interpolation(transform.interpolation.value),
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
