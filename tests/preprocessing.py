"""Any preprocessing that the manifest can express, and images for it, as strategies of hypothesis."""

from typing import get_args

import hypothesis.strategies as st
import numpy as np
from PIL import Image

from torchless.image.preprocess import RESAMPLING, resized_size
from torchless.model.preprocessing import Preprocess, Resize, ResizeMode

_CHANNELS = [(3, None), (3, "first"), (3, "after_resize"), (1, "first"), (1, "after_resize")]


@st.composite
def specs(draw: st.DrawFn, *, fixed_size: bool = False) -> Preprocess:
    """All modes of resizing × crops (none, smaller and larger than the image) × channels × interpolations × scales ×
    padding. With `fixed_size` every image gets the same size.
    """
    sides = st.integers(1, 48)
    channels, grayscale = draw(st.sampled_from(_CHANNELS))
    mode = draw(st.sampled_from(get_args(ResizeMode)))
    length = {"none": 0, "exact": 2}.get(mode) or (0 if mode == "none" else draw(st.sampled_from([1, 2])))
    resize = Resize(
        mode=mode,
        size=tuple(draw(sides) for _ in range(length)),
        rounding="nearest" if length == 2 and mode != "exact" else draw(st.sampled_from(["down", "nearest"])),
    )
    grey, level = st.integers(0, 255).map(lambda value: (value,) * 3), st.integers(0, 255)
    crop = st.tuples(sides, sides)
    return Preprocess(
        resize=resize,
        crop=draw(crop if fixed_size and mode != "exact" else st.none() | crop),
        mean=draw(st.tuples(*[st.floats(-1, 2)] * channels)),
        std=draw(st.tuples(*[st.floats(0.01, 3)] * channels)),
        channels=channels,
        interpolation=draw(st.sampled_from([*RESAMPLING])),
        grayscale=grayscale,
        fill=draw(st.none() | (grey if grayscale is not None else st.tuples(level, level, level))),
        scale=draw(st.sampled_from(["divide", "multiply"])),
        centering=draw(st.sampled_from(["even", "down"])),
    )


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    """An RGB image of independent pixels."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def pictures(longest: int) -> st.SearchStrategy[Image.Image]:
    """Noise of up to `longest` pixels a side."""
    return st.builds(noise, st.integers(1, longest), st.integers(1, longest), st.integers(0, 2**32 - 1))


def resizes_to_nothing(image: Image.Image, spec: Preprocess) -> bool:
    """Whether a side becomes 0 pixels, where torchvision fails and the runtime leaves one."""
    if spec.resize.mode != "long_side" or spec.resize.rounding != "down":
        return False
    return spec.resize.size[0] * min(image.size) < max(image.size)


def is_modest(image: Image.Image, spec: Preprocess) -> bool:
    """Whether the resized image is no monster."""
    width, height = resized_size(image.width, image.height, spec.resize)
    return width * height < 300_000
