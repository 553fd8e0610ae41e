"""Preprocessing, plain and with its shortcuts, against torchvision's, bit for bit.

The goldens come from torchvision at run time, not from files.
"""

from pathlib import Path

import numpy as np
import pytest
import torchvision
from hypothesis import assume, given, settings
from PIL import Image
from tests.preprocessing import is_modest, pictures, resizes_to_nothing, specs
from torchvision.transforms._presets import ImageClassification

from torchless.image.exact_crop import preprocess_crop
from torchless.image.preprocess import preprocess
from torchless.model.preprocessing import Preprocess
from torchless_export.sources.catalog import model_names
from torchless_export.sources.transforms import read_transform, torchvision_transform

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


@settings(max_examples=400, deadline=None)
@given(spec=specs(), image=pictures(200))
def test_any_preprocessing(spec: Preprocess, image: Image.Image) -> None:
    assume(is_modest(image, spec) and not resizes_to_nothing(image, spec))
    wanted = torchvision_transform(spec)(image).numpy()
    for got in (preprocess(image, spec), preprocess_crop(image, spec)):
        assert got.dtype == np.float32
        np.testing.assert_array_equal(got, wanted)
