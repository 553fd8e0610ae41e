"""Other ways of preparing an image than the manifest's: those that training scripts use, the likeliest first."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import product
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL.Image import merge

from torchless.errors import ImageError
from torchless.image.decode import load_rgb
from torchless.image.exact_crop import preprocess_crop
from torchless.image.options import ImageOptions
from torchless.model.preprocessing import Interpolation, Preprocess, Resize, sides_text
from torchless.records import dataclass

Colour = Literal["rgb", "bgr"]
Geometry = tuple[Resize, tuple[int, int] | None]
Statistics = tuple[tuple[float, ...], tuple[float, ...]]

# The usual sizes of a network's input, the likeliest first; and of the short side as a multiple of it (torchvision's
# and timm's).
_SIDES = (224, 32, 64, 128, 256, 96, 299, 384, 28, 112, 48, 160, 192, 240, 288, 300, 320, 380, 448, 480, 512)
_RATIOS = (1, 232 / 224, 1 / 0.95, 1 / 0.9, 1 / 0.875, 256 / 224, 1 / 0.8)
_SHORT_SIDES = (232, 256)
_INTERPOLATIONS: tuple[Interpolation, ...] = ("bilinear", "bicubic", "nearest", "lanczos")
_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_COLOUR_STATISTICS: tuple[Statistics, ...] = (
    _IMAGENET,
    ((0.5,) * 3, (0.5,) * 3),
    ((0.0,) * 3, (1.0,) * 3),  # not normalised
    ((0.0,) * 3, (1 / 255,) * 3),  # values of 0 to 255
    ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),  # CIFAR-10
    ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),  # CIFAR-10, as most scripts write it
    ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),  # CLIP
)
_GREY_STATISTICS: tuple[Statistics, ...] = (
    ((0.5,), (0.5,)),
    ((0.0,), (1.0,)),
    ((0.0,), (1 / 255,)),
    ((0.1307,), (0.3081,)),  # MNIST
    ((0.2860,), (0.3530,)),  # Fashion-MNIST
)


@dataclass(frozen=True)
class Alternative:
    """A way to prepare an image: as `spec` says, with the channels in the order `colour`; `upright` is False where the
    image's EXIF orientation is ignored.
    """

    spec: Preprocess
    colour: Colour = "rgb"
    upright: bool = True

    def prepare(self, image: bytes) -> NDArray[np.float32] | None:
        """The image file as the network takes it, float32 (channels, height, width); None where that is impossible."""
        try:
            rgb = load_rgb(image, ImageOptions(apply_exif=self.upright))
            if self.colour == "bgr":
                red, green, blue = rgb.split()
                rgb = merge("RGB", (blue, green, red))
            return preprocess_crop(rgb, self.spec)
        except ImageError:
            return None

    def described(self, own: Preprocess) -> str:
        """What is other here than in `own`, in words, and the parameters that say so."""
        words = [f"prepared by {self.spec}"]
        words += ["with the channels in the order blue, green, red"] * (self.colour == "bgr")
        words += ["not turned as EXIF says"] * (not self.upright)
        words += ["with sizes rounded as in timm"] * (self.spec.resize.rounding != own.resize.rounding)
        given = " ".join(_parameters(own, self.spec))
        return ", ".join(words) + (f": give {given}" if given else "")


def alternatives(own: Preprocess, size: tuple[int, int], *, any_size: bool, turned: bool) -> list[Alternative]:
    """Ways that differ from `own`: those that differ in one respect first, and of these the usual ones. `size` is
    (height, width) of the network's input; with `any_size` it is varied too. `turned` says that the images have an EXIF
    orientation.
    """
    statistics = _GREY_STATISTICS if own.channels == 1 else (*_COLOUR_STATISTICS, _other_transform_input(own))
    respects: list[list[Any]] = [
        _unique((own.resize, own.crop), _geometries(size, any_size=any_size)),
        _unique((own.mean, own.std), statistics),
        _unique(own.interpolation, _INTERPOLATIONS),
        ["rgb", "bgr"] if own.channels == 3 else ["rgb"],
        [True, False] if turned else [True],
    ]
    places = [range(len(respect)) for respect in respects]
    others = sorted(product(*places), key=lambda place: (sum(map(bool, place)), sum(place)))[1:]
    chosen = ([respect[i] for respect, i in zip(respects, place, strict=True)] for place in others)
    return [Alternative(_changed(own, *choice[:3]), *choice[3:]) for choice in chosen]


def _changed(own: Preprocess, geometry: Geometry, statistics: Statistics, interpolation: Interpolation) -> Preprocess:
    (resize, crop), (mean, std) = geometry, statistics
    return replace(own, resize=resize, crop=crop, mean=mean, std=std, interpolation=interpolation)


def _geometries(size: tuple[int, int], *, any_size: bool) -> Iterator[Geometry]:
    yield Resize(mode="exact", size=size), None
    yield from _short_sides(size, _RATIOS)
    yield from ((Resize(mode="short_side", size=(side,)), size) for side in _SHORT_SIDES if side >= max(size))
    yield Resize(mode="long_side", size=(max(size),)), size
    yield Resize(mode="none"), size
    for side in _SIDES if any_size else ():
        yield from _short_sides((side, side), (1,))
        yield Resize(mode="exact", size=(side, side)), None
        yield from _short_sides((side, side), (1 / 0.875,))
    for resize, crop in list(_short_sides(size, _RATIOS)):
        yield replace(resize, rounding="nearest"), crop


def _short_sides(size: tuple[int, int], ratios: Iterable[float]) -> Iterator[Geometry]:
    for ratio in ratios:
        for side in sorted({math.floor(max(size) * ratio), round(max(size) * ratio)}):
            yield Resize(mode="short_side", size=(side,)), size


def _other_transform_input(own: Preprocess) -> Statistics:
    """What undoes the transform_input of torchvision's GoogLeNet and Inception, which a network trained from scratch
    does not have: (v - m) / s must come out behind it.
    """
    mean = tuple(m + s * (i - 0.5) / 0.5 for m, s, i in zip(own.mean, own.std, _IMAGENET[0], strict=True))
    return mean, tuple(s * i / 0.5 for s, i in zip(own.std, _IMAGENET[1], strict=True))


def _unique(first: Any, others: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys([first, *others]))


def _parameters(own: Preprocess, other: Preprocess) -> Iterator[str]:
    if other.resize != own.resize:
        yield f"`resize` {other.resize.text}"
    if other.crop != own.crop and other.resize.mode != "exact":
        yield f"`crop` {sides_text(other.crop or ())}"
    undone = own.channels == 3 and (other.mean, other.std) == _other_transform_input(own)
    if undone:
        yield "`no_transform_input`"
    for name in ("mean", "std"):
        if getattr(other, name) != getattr(own, name) and not undone:
            yield f"`{name}` {','.join(f'{value:.6g}' for value in getattr(other, name))}"
    if other.interpolation != own.interpolation:
        yield f"`interpolation` {other.interpolation}"
