"""Preprocessing, plain and with its shortcuts, against torchvision's, bit for bit.

The goldens come from torchvision at run time, not from files.
"""

from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
import torchvision
from hypothesis import given, settings
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms._presets import ImageClassification

from torchless.image.exact_crop import preprocess_crop
from torchless.image.preprocess import preprocess
from torchless_export.sources.catalog import model_names
from torchless_export.sources.transforms import read_transform

ALL_WEIGHTS = [(name, member) for name in model_names() for member in torchvision.models.get_model_weights(name)]


@pytest.fixture(scope="module")
def images(photos: Path) -> list[Image.Image]:
    """A photo upright, across, square, and smaller than any crop."""
    return [
        Image.open(photos / name).convert("RGB")
        for name in ("coffee.png", "rocket.jpg", "astronaut.png", "microaneurysms.png")
    ] + [Image.open(photos / "coffee.png").convert("RGB").rotate(90, expand=True)]


def assert_equal(image: Image.Image, transform: ImageClassification) -> None:
    spec = read_transform(transform)
    wanted = transform(image).numpy()
    for got in (preprocess(image, spec), preprocess_crop(image, spec)):
        assert got.dtype == np.float32
        assert got.shape == wanted.shape == (3, *spec.crop)
        np.testing.assert_array_equal(got, wanted)


def test_there_are_115_weights() -> None:
    assert len(ALL_WEIGHTS) == 115


@pytest.mark.parametrize(
    ("name", "weights"), ALL_WEIGHTS, ids=[f"{name}-{member.name}" for name, member in ALL_WEIGHTS]
)
def test_every_weights_own_transform(name: str, weights: object, images: list[Image.Image]) -> None:
    for image in images:
        assert_equal(image, weights.transforms())


@settings(max_examples=150, deadline=None)
@given(
    width=st.integers(1, 700),
    height=st.integers(1, 700),
    resize_size=st.integers(1, 300),
    crop_size=st.integers(1, 320),
    interpolation=st.sampled_from([*InterpolationMode]),
    mean=st.floats(-1, 2),
    std=st.floats(0.01, 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_size_and_numbers(width, height, resize_size, crop_size, interpolation, mean, std, seed) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    transform = ImageClassification(
        crop_size=crop_size,
        resize_size=resize_size,
        interpolation=interpolation,
        mean=(mean, 0.5, 1 / 3),
        std=(std, 0.25, 1 / 7),
    )
    if resize_size * max(width, height) / min(width, height) < 20_000:
        assert_equal(Image.fromarray(pixels), transform)
