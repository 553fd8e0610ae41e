"""How an image becomes a network's input, as the manifest says it: numbers and names only. image/preprocess.py does it.

A step that these fields cannot express is refused at export, by name.
"""

import math
from dataclasses import replace
from typing import Literal, cast, get_args

from torchless.errors import ManifestError, UsageError
from torchless.records import dataclass

Interpolation = Literal["nearest", "nearest-exact", "bilinear", "bicubic", "box", "hamming", "lanczos"]
Centering = Literal["even", "down"]
ResizeMode = Literal["short_side", "exact", "long_side", "none"]

_LENGTHS = {"short_side": (1, 2), "exact": (2,), "long_side": (1, 2), "none": (0,)}
_RESIZE_FORMS = "256 (the short side), 224x224 (exactly height x width), long:256 (the long side) or none"
_CROP_FORMS = "224, 224x320 (height x width) or none"
_LONGEST_SIDE = 2**31 - 1  # pixels; Pillow counts no further


@dataclass(frozen=True, kw_only=True)
class Resize:
    """To which size an image is resized. `size` is in pixels.

    - `short_side` of (side,): the shorter side gets that length. Of (height, width): as small as covers that box.
    - `exact` of (height, width): squeezed to it, whatever its shape.
    - `long_side` of (side,): the longer side gets that length. Of (height, width): as large as fits into that box.
    - `none` of (): left as it is.

    `rounding` is that of the side that follows from the other: "down" as in torchvision, "nearest" as in timm.
    """

    mode: ResizeMode
    size: tuple[int, ...] = ()
    rounding: Literal["down", "nearest"] = "down"

    def __post_init__(self) -> None:
        if len(self.size) not in _LENGTHS[self.mode] or not _are_sides(self.size):
            raise ManifestError(f"preprocess: a resize of mode {self.mode} cannot have the size {list(self.size)}")

    @property
    def text(self) -> str:
        """As parse_resize takes it."""
        return "none" if self.mode == "none" else "long:" * (self.mode == "long_side") + sides_text(self.size)

    def __str__(self) -> str:
        sides = "×".join(map(str, self.size))
        words = {"short_side": "short side to", "exact": "to exactly", "long_side": "long side to", "none": "none"}
        boxes = words | {"short_side": "to cover", "long_side": "to fit into"}
        return f"{(boxes if len(self.size) == 2 else words)[self.mode]} {sides}".strip()


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """From an RGB image to the model's input, float32 (channels, height, width).

    In this order:

    - `resize`
    - centre `crop` to (height, width) in pixels, None for no crop; an image smaller than it is first padded with the
      colour `fill`, by default black. `centering` rounds half a pixel of margin: "even" to the even number as
      torchvision, "down" as transformers
    - values from 0..255 to 0..1: `scale` says whether they are divided by 255, or multiplied by 1/255 as torchvision's
      v2 transforms do, which differs in the last bit
    - minus `mean`, divided by `std`, one number per channel

    `grayscale` says when colours become grey, "first" or "after_resize". One channel needs it; with three channels, all
    three are that grey.
    """

    resize: Resize
    crop: tuple[int, int] | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    channels: Literal[1, 3] = 3
    interpolation: Interpolation = "bilinear"
    antialias: Literal[True] = True
    grayscale: Literal["first", "after_resize"] | None = None
    fill: tuple[int, ...] | None = None
    scale: Literal["divide", "multiply"] = "divide"
    centering: Centering = "even"

    def __post_init__(self) -> None:
        if self.crop is not None and not _are_sides(self.crop):
            raise ManifestError(f"preprocess: a crop cannot have the size {list(self.crop)}")
        if len(self.mean) != self.channels or len(self.std) != self.channels:
            raise ManifestError(
                f"preprocess: {self.channels} channels need {self.channels} numbers as mean and as std; got "
                f"{list(self.mean)} and {list(self.std)}"
            )
        if not all(map(math.isfinite, (*self.mean, *self.std))) or not all(value > 0 for value in self.std):
            raise ManifestError(
                f"preprocess: mean and std must be finite, and every std above 0; got {list(self.mean)} and "
                f"{list(self.std)}"
            )
        if self.channels == 1 and self.grayscale is None:
            raise ManifestError("preprocess: one channel needs grayscale: first or after_resize")
        if self.fill is not None and (len(self.fill) != 3 or not all(0 <= value <= 255 for value in self.fill)):
            raise ManifestError(f"preprocess: fill must be three numbers in 0..255, got {list(self.fill)}")
        if self.grayscale is not None and len(set(self.fill or (0,))) > 1:
            raise ManifestError(f"preprocess: a grey image cannot be padded with the colour {list(self.fill or ())}")

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) of every prepared image; None where it depends on the image."""
        if self.crop is not None:
            return self.crop
        return cast(tuple[int, int], self.resize.size) if self.resize.mode == "exact" else None

    @classmethod
    def centered(
        cls,
        *,
        resize: int,
        crop: int,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        interpolation: Interpolation = "bilinear",
    ) -> "Preprocess":
        """As torchvision's `ImageClassification`: the short side to `resize` pixels, and the middle `crop` × `crop`."""
        short_side = Resize(mode="short_side", size=(resize,))
        return cls(resize=short_side, crop=(crop, crop), mean=mean, std=std, interpolation=interpolation)

    @property
    def steps(self) -> dict[str, str]:
        """Each step in words, in order, by the name of the option that sets it; `channels` is the turn to grey."""
        grey = {"first": "grey", "after_resize": "grey after resizing", None: ""}[self.grayscale]
        padding = f" padded with {_listed(self.fill)}" if self.fill is not None else ""
        steps = {
            "channels": grey,
            "resize": f"resize {self.resize}",
            "interpolation": self.interpolation if self.resize.mode != "none" else "",
            "crop": f"centre crop {self.crop[0]}×{self.crop[1]}{padding}" if self.crop is not None else "no crop",
            "mean": f"mean {_listed(self.mean)}",
            "std": f"std {_listed(self.std)}",
        }
        return {name: text for name, text in steps.items() if text}

    def __str__(self) -> str:
        return ", ".join(self.steps.values())


@dataclass(frozen=True, kw_only=True)
class PreprocessChanges:
    """What the exporting user changed in the preprocessing of the weights; None leaves it as it is.

    Names and units are those of `Preprocess`; `crop` () is no crop.
    """

    resize: Resize | None = None
    crop: tuple[int, ...] | None = None
    channels: Literal[1, 3] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    interpolation: Interpolation | None = None

    def apply(self, spec: Preprocess) -> Preprocess:
        """`spec` with the changes.

        Another crop alone scales the resize of the short side in proportion; an exact resize alone drops the crop. One
        channel is the grey image, before resizing. Raises UsageError for changes that contradict each other, and for a
        mean and std of pixels of 0..255.
        """
        check_unit_range(self.mean, self.std)
        channels = self.channels or spec.channels
        try:
            return replace(
                spec,
                resize=self.resize or self._resize_for_crop(spec),
                crop=self._crop(spec),
                channels=channels,
                grayscale=(spec.grayscale or "first") if channels == 1 else spec.grayscale,
                mean=self.mean or spec.mean,
                std=self.std or spec.std,
                interpolation=self.interpolation or spec.interpolation,
            )
        except ManifestError as error:
            raise UsageError(str(error)) from None

    def _crop(self, spec: Preprocess) -> tuple[int, int] | None:
        if self.crop is not None:
            return cast(tuple[int, int], self.crop) if self.crop else None
        return None if self.resize is not None and self.resize.mode == "exact" else spec.crop

    def _resize_for_crop(self, spec: Preprocess) -> Resize:
        if not self.crop or spec.crop is None or spec.resize.mode != "short_side" or len(spec.resize.size) != 1:
            return spec.resize
        return replace(spec.resize, size=(round(spec.resize.size[0] * max(self.crop) / max(spec.crop)),))


def parse_resize(text: str) -> Resize:
    """256 → the short side, 224x224 → exactly (height, width), long:256 → the long side, none. Raises UsageError."""
    if text.lower() == "none":
        return Resize(mode="none")
    long, sides = text.lower().startswith("long:"), _sides(text.lower().removeprefix("long:"))
    if sides is None or (long and len(sides) == 2):
        raise UsageError(f"`resize` takes {_RESIZE_FORMS}; got {text!r}")
    return Resize(mode="long_side" if long else "exact" if len(sides) == 2 else "short_side", size=sides)


def parse_crop(text: str) -> tuple[int, ...]:
    """224 → (224, 224), 224x320 → (224, 320), none → (). Raises UsageError."""
    sides = () if text.lower() == "none" else _sides(text)
    if sides is None:
        raise UsageError(f"`crop` takes {_CROP_FORMS}; got {text!r}")
    return sides * 2 if len(sides) == 1 else sides


def parse_channels(number: int) -> Literal[1, 3]:
    """Raises UsageError for anything but 1 and 3."""
    if number not in (1, 3):
        raise UsageError(f"`channels` takes 1 (grey) or 3 (red, green, blue); got {number}")
    return cast(Literal[1, 3], number)


def parse_interpolation(text: str) -> Interpolation:
    """The interpolation of that name, as torchvision's InterpolationMode writes it. Raises UsageError with the known
    names.
    """
    for known in get_args(Interpolation):
        if text.lower() == known:
            return cast(Interpolation, known)
    raise UsageError(f"unknown interpolation {text!r}; it is one of {', '.join(get_args(Interpolation))}")


def check_unit_range(mean: tuple[float, ...] | None, std: tuple[float, ...] | None) -> None:
    """Raises UsageError for numbers meant for pixels of 0..255: prepared values are 0..1 before they are normalised."""
    for name, values in (("mean", mean), ("std", std)):
        if values is not None and max(values) > 1:
            divided = ",".join(f"{value / 255:.6g}" for value in values)
            raise UsageError(
                f"`{name}` {','.join(f'{value:g}' for value in values)} is for values of 0 to 255; here they are 0 to "
                f"1: divide by 255 ({divided})"
            )


def sides_text(sides: tuple[int, ...]) -> str:
    """(224, 320) → 224x320, (256,) → 256, () → none: as parse_crop takes it."""
    return "x".join(map(str, sides)) or "none"


def _sides(text: str) -> tuple[int, ...] | None:
    """224 or 224x320 as numbers of at least 1; None for anything else."""
    words = text.lower().split("x")
    if len(words) > 2 or not all(word.isascii() and word.isdigit() and len(word) < 20 for word in words):
        return None
    sides = tuple(map(int, words))
    return sides if _are_sides(sides) else None


def _are_sides(sides: tuple[int, ...]) -> bool:
    return all(1 <= side <= _LONGEST_SIDE for side in sides)


def _listed(values: tuple[float, ...]) -> str:
    return ",".join(f"{value:.6g}" for value in values)
