"""torchvision's preprocessing transforms ↔ the manifest's Preprocess. The numbers are read from the transform, never
typed from memory.
"""

from collections.abc import Callable
from typing import Any

import torch
from PIL import Image
from torchvision import transforms
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms._presets import ImageClassification

from torchless.errors import UsageError
from torchless.model.preprocessing import Preprocess, Resize, parse_interpolation

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
    return Preprocess.centered(
        resize=transform.resize_size[0],
        crop=transform.crop_size[0],
        mean=tuple(transform.mean),
        std=tuple(transform.std),
        interpolation=parse_interpolation(transform.interpolation.value),
    )


def torchvision_transform(spec: Preprocess) -> Transform:
    """torchvision's own transforms with these numbers: what the runtime's preprocessing is compared with."""
    interpolation, grey = InterpolationMode(spec.interpolation), transforms.Grayscale(spec.channels)
    steps: list[Any] = [grey] * (spec.grayscale == "first")
    if spec.resize.mode != "none":
        steps.append(_resize(spec.resize, interpolation))
    steps += [grey] * (spec.grayscale == "after_resize")
    if spec.crop is not None:
        steps.append(transforms.CenterCrop(spec.crop))
    if spec.scale == "divide":
        steps.append(transforms.ToTensor())
    else:
        steps += [v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)]
    composed: Transform = transforms.Compose([*steps, transforms.Normalize(spec.mean, spec.std)])
    return composed


def _resize(resize: Resize, interpolation: InterpolationMode) -> Any:
    if resize.mode == "long_side":
        return v2.Resize(None, interpolation, max_size=resize.size[0])
    return v2.Resize(resize.size[0] if resize.mode == "short_side" else list(resize.size), interpolation)
