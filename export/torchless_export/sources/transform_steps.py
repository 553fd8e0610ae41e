"""The steps of a user's evaluation transform, one by one, into the manifest's Preprocess.

What is read are the attributes of the classes of torchvision (v1, v2 and the presets of its weights) and timm. A class
that overrides what such a step does is not that step. Reading may be simple, because it is not trusted: the gate
compares the runtime's pixels with the transform itself, bit for bit.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torchvision import transforms
from torchvision.transforms import InterpolationMode
from torchvision.transforms._presets import ImageClassification

from torchless.errors import ManifestError, UsageError
from torchless.model.preprocessing import Interpolation, Preprocess, Resize, parse_interpolation

_CONTAINERS = ("v1.Compose", "v2.Compose", "nn.Sequential")
_IDLE = ("v2.ToPureTensor", "v2.Identity", "nn.Identity")
# What a step does, in the ways that the libraries call it.
_ACTIONS = ("__call__", "forward", "transform")
_TRAINING = (
    "Random", "AutoAugment", "RandAugment", "TrivialAugment", "AugMix", "AugmentAnd", "ColorJitter", "Gaussian",
    "Elastic", "ScaleJitter", "MixUp", "CutMix", "JPEG",
)  # fmt: skip
_EXPRESSED = "resize, centre crop, grey, conversion to float and Normalize"
_ON_TENSORS = (
    "resizes a tensor, which rounds differently from Pillow: on photos 0.1 to 0.3 % of the values differ by 1/255, and "
    "an eighth of them if they are floats already. Put it before the step that makes a tensor (ToTensor, ToImage, "
    "PILToTensor), and evaluate the network once more"
)


def read_steps(transform: Any, channels: int) -> "Reading":
    """What `transform` does with images of that many channels. Raises UsageError, naming the step that cannot be
    expressed.
    """
    reading = Reading(channels=channels)
    for step in _flat(transform):
        _reader(step)(reading, step)
    return reading


@dataclass(kw_only=True)
class Reading:
    """What the steps read so far do. `form` is that of the image after them."""

    channels: int
    form: Literal["image", "bytes", "floats", "normalised"] = "image"
    resize: Resize | None = None
    crop: tuple[int, int] | None = None
    interpolation: Interpolation = "bilinear"
    grayscale: Literal["first", "after_resize"] | None = None
    fill: tuple[int, ...] | None = None
    scale: Literal["divide", "multiply"] = "divide"
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def preprocess(self) -> Preprocess:
        """All of it. Images of one channel that no step makes grey are opened as grey ones."""
        if self.form in ("image", "bytes"):
            raise UsageError(
                "the transform does not end in floats from 0 to 1: add ToTensor(), or "
                "ToDtype(torch.float32, scale=True) where there is a tensor already"
            )
        try:
            return Preprocess(
                resize=self.resize or Resize(mode="none"),
                crop=self.crop,
                mean=self._for_channels(self.mean),
                std=self._for_channels(self.std),
                channels=1 if self.channels == 1 else 3,
                interpolation=self.interpolation,
                grayscale=self.grayscale or ("first" if self.channels == 1 else None),
                fill=self.fill if any(self.fill or ()) else None,
                scale=self.scale,
            )
        except ManifestError as error:
            raise UsageError(f"the transform cannot be exported: {error}") from None

    def _for_channels(self, numbers: tuple[float, ...]) -> tuple[float, ...]:
        if len(numbers) not in (1, self.channels):
            raise UsageError(f"Normalize has {len(numbers)} numbers, and the images have {self.channels} channels")
        return numbers * self.channels if len(numbers) == 1 else numbers

    def take_resize(self, step: Any, resize: Resize) -> None:
        if self.form != "image":
            raise _refused(step, _ON_TENSORS)
        if self.resize is not None or self.crop is not None:
            earlier = "resize" if self.crop is None else "crop"
            raise _refused(step, f"comes after a {earlier}; one resize, and one crop after it, can be expressed")
        self.resize, self.interpolation = resize, _interpolation(step)

    def take_crop(self, step: Any, fill: Any = 0) -> None:
        if self.crop is not None:
            raise _refused(step, "is the second crop; one can be expressed")
        if self.form == "normalised" or (self.form != "image" and fill != 0):
            raise _refused(step, "comes too late, where padding would have another colour; put it before ToTensor")
        height, width = step.size
        self.crop = int(height), int(width)
        self.fill = tuple(fill) if isinstance(fill, list | tuple) else (int(fill),)
        self.fill = self.fill * 3 if len(self.fill) == 1 else self.fill

    def take_grey(self, step: Any, channels: int) -> None:
        if self.form != "image":
            raise _refused(step, "makes a tensor grey, which rounds differently from Pillow; put it before ToTensor")
        self.grayscale = self.grayscale or ("first" if self.resize is None else "after_resize")
        self.channels = channels

    def take_floats(self, step: Any, scale: Literal["divide", "multiply"], *, scaled: bool = True) -> None:
        """A conversion of a tensor to `step.dtype`; it changes nothing where there are floats already."""
        if self.form == "image":
            raise _refused(step, "comes before the image is a tensor; put it after PILToTensor or ToImage")
        if step.dtype != torch.float32:
            raise _refused(step, f"to {step.dtype} cannot be expressed; the network's input is torch.float32")
        if self.form == "bytes":
            if not scaled:
                raise _refused(
                    step, "leaves values of 0 to 255; set scale=True, and divide Normalize's mean and std by 255"
                )
            self.form, self.scale = "floats", scale


Reader = Callable[[Reading, Any], None]


def _flat(transform: Any) -> Iterator[Any]:
    """The steps in order, containers and torchvision's presets taken apart."""
    name = _name(transform)
    if name in _CONTAINERS:
        for step in transform.transforms if name != "nn.Sequential" else transform:
            yield from _flat(step)
    elif name == "v1.ImageClassification":
        yield from _flat(_apart(transform))
    elif name not in _IDLE:
        yield transform


def _apart(preset: ImageClassification) -> transforms.Compose:
    """As its `forward` calls the functions."""
    return transforms.Compose(
        [
            transforms.Resize(preset.resize_size, preset.interpolation),
            transforms.CenterCrop(preset.crop_size),
            transforms.PILToTensor(),
            transforms.ConvertImageDtype(torch.float),
            transforms.Normalize(preset.mean, preset.std),
        ]
    )


def _name(step: Any) -> str:
    """The class that says what `step` does, with its library: v1.Resize, v2.Resize, timm.ResizeKeepRatio; "" for one of
    no known library.
    """
    for kind in type(step).__mro__:
        if library := _library(kind.__module__):
            return f"{library}.{kind.__name__}"
        if any(action in vars(kind) for action in _ACTIONS):
            break
    return ""


def _library(module: str) -> str:
    known = {"torchvision.transforms.v2": "v2", "torchvision.transforms": "v1", "timm.data": "timm", "torch.nn": "nn"}
    return next((name for prefix, name in known.items() if f"{module}.".startswith(f"{prefix}.")), "")


def _reader(step: Any) -> Reader:
    """What reads `step`. Raises UsageError for one that the manifest cannot express."""
    name = _name(step)
    if name in _READERS:
        return _READERS[name]
    if type(step).__name__.startswith(_TRAINING):
        raise _refused(step, "is for training; give the transform you evaluate with")
    raise _refused(
        step,
        f"is no step that the manifest can express (those are {_EXPRESSED}). Leave it out if it changes nothing when "
        "you evaluate; work on tensors can be the first layer of the network instead",
    )


def _refused(step: Any, why: str) -> UsageError:
    return UsageError(f"the transform cannot be exported: {type(step).__name__} {why}")


def _resize(reading: Reading, step: Any) -> None:
    if step.size is None:
        reading.take_resize(step, Resize(mode="long_side", size=(step.max_size,)))
        return
    if step.max_size is not None:
        raise _refused(step, "with both `size` and `max_size` cannot be expressed; leave out one of them")
    size = (step.size,) if isinstance(step.size, int) else tuple(step.size)
    reading.take_resize(step, Resize(mode="short_side" if len(size) == 1 else "exact", size=size))


def _resize_keeping_ratio(reading: Reading, step: Any) -> None:
    """timm's: the box that the image covers (longest 0) or fits into (longest 1)."""
    if step.random_scale_prob or step.random_aspect_prob or isinstance(step.interpolation, tuple | list):
        raise _refused(step, "with random sizes is for training; give the transform you evaluate with")
    if step.longest not in (0, 1):
        raise _refused(step, f"with longest={step.longest:g} cannot be expressed; 0 and 1 can")
    mode: Literal["short_side", "long_side"] = "long_side" if step.longest else "short_side"
    reading.take_resize(step, Resize(mode=mode, size=tuple(step.size), rounding="nearest"))


def _center_crop(reading: Reading, step: Any) -> None:
    reading.take_crop(step)


def _crop_or_pad(reading: Reading, step: Any) -> None:
    if step.padding_mode != "constant":
        raise _refused(step, f"with padding_mode={step.padding_mode!r} cannot be expressed; constant can")
    reading.take_crop(step, step.fill)


def _grayscale(reading: Reading, step: Any) -> None:
    reading.take_grey(step, step.num_output_channels)


def _rgb(reading: Reading, step: Any) -> None:
    if reading.channels == 1:
        reading.take_grey(step, 3)


def _to_bytes(reading: Reading, _: Any) -> None:
    reading.form = "bytes" if reading.form == "image" else reading.form


def _to_tensor(reading: Reading, _: Any) -> None:
    if reading.form == "image":
        reading.form, reading.scale = "floats", "divide"


def _to_dtype(reading: Reading, step: Any) -> None:
    if step.dtype != torch.uint8 or reading.form != "bytes":
        reading.take_floats(step, "multiply", scaled=step.scale)


def _convert_by_division(reading: Reading, step: Any) -> None:
    reading.take_floats(step, "divide")


def _convert_by_multiplication(reading: Reading, step: Any) -> None:
    reading.take_floats(step, "multiply")


def _normalize(reading: Reading, step: Any) -> None:
    if reading.form != "floats":
        raise _refused(step, "comes twice, or before there are floats; it can come once, after ToTensor")
    reading.form, reading.mean, reading.std = "normalised", _numbers(step.mean), _numbers(step.std)


def _unscaled(_: Reading, step: Any) -> None:
    raise _refused(step, "(timm's) leaves values of 0 to 255; use MaybeToTensor")


def _interpolation(step: Any) -> Interpolation:
    """Also as Pillow's number, or as a name."""
    value = step.interpolation
    if isinstance(value, InterpolationMode):
        return parse_interpolation(value.value)
    return parse_interpolation(value if isinstance(value, str) else Image.Resampling(value).name)


def _numbers(values: Any) -> tuple[float, ...]:
    """Of float32 the shortest decimals that are the same float32: 0.485, not 0.48500001430511475."""
    array = np.atleast_1d(np.asarray(values))
    return tuple(float(str(value)) if array.dtype == np.float32 else float(value) for value in array)


_READERS: dict[str, Reader] = {
    **{f"{version}.Resize": _resize for version in ("v1", "v2")},
    **{f"{version}.CenterCrop": _center_crop for version in ("v1", "v2")},
    **{f"{version}.Grayscale": _grayscale for version in ("v1", "v2")},
    **{f"{version}.Normalize": _normalize for version in ("v1", "v2")},
    **{f"{version}.ToTensor": _to_tensor for version in ("v1", "v2")},
    **dict.fromkeys(("v1.PILToTensor", "v2.PILToTensor", "v2.ToImage", "timm.MaybePILToTensor"), _to_bytes),
    "v1.ConvertImageDtype": _convert_by_division,
    "v2.ConvertImageDtype": _convert_by_multiplication,
    "v2.ToDtype": _to_dtype,
    "v2.RGB": _rgb,
    "timm.ResizeKeepRatio": _resize_keeping_ratio,
    "timm.CenterCropOrPad": _crop_or_pad,
    "timm.MaybeToTensor": _to_tensor,
    "timm.ToTensor": _unscaled,
}
