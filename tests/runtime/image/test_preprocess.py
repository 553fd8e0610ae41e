"""The runtime's preprocessing against torchvision's, bit for bit. The goldens come from torchvision at run time, not from files."""

from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
import torchvision
from hypothesis import given, settings
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms._presets import ImageClassification

from torchless.errors import ImageTooLargeError
from torchless.image.preprocess import center_crop, preprocess, resized_size
from torchless.model.manifest import Preprocess
from torchless_export.sources.catalog import model_names
from torchless_export.sources.presets import read_preset

ALL_WEIGHTS = [(name, member) for name in model_names() for member in torchvision.models.get_model_weights(name)]


@pytest.fixture(scope="module")
def images(photos: Path) -> list[Image.Image]:
    """A photo upright, across, square, and smaller than any crop."""
    return [Image.open(photos / name).convert("RGB") for name in ("coffee.png", "rocket.jpg", "astronaut.png", "microaneurysms.png")] + [
        Image.open(photos / "coffee.png").convert("RGB").rotate(90, expand=True)
    ]


def assert_equal(image: Image.Image, transform: ImageClassification) -> None:
    spec = read_preset(transform)
    wanted, got = transform(image).numpy(), preprocess(image, spec)
    assert got.dtype == np.float32
    assert got.shape == wanted.shape == (3, spec.crop_size, spec.crop_size)
    np.testing.assert_array_equal(got, wanted)


def test_there_are_115_weights() -> None:
    assert len(ALL_WEIGHTS) == 115


@pytest.mark.parametrize(("name", "weights"), ALL_WEIGHTS, ids=[f"{name}-{member.name}" for name, member in ALL_WEIGHTS])
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
        crop_size=crop_size, resize_size=resize_size, interpolation=interpolation, mean=(mean, 0.5, 1 / 3), std=(std, 0.25, 1 / 7)
    )
    if resize_size * max(width, height) / min(width, height) < 20_000:
        assert_equal(Image.fromarray(pixels), transform)


def test_the_long_side_is_cut_off_not_rounded() -> None:
    assert resized_size(500, 375, 256) == (341, 256)  # 341.33
    assert resized_size(375, 500, 232) == (232, 309)  # 309.33
    assert resized_size(3, 2, 255) == (382, 255)  # 382.5


def test_an_image_smaller_than_the_crop_is_padded_with_black() -> None:
    cropped = np.asarray(center_crop(Image.new("RGB", (2, 3), "white"), 5))
    assert cropped.shape == (5, 5, 3)
    assert cropped[:, :, 0].sum() == 2 * 3 * 255
    assert cropped[1:4, 1:3].min() == 255  # the odd pixel of padding lies to the right


def test_a_line_of_pixels_may_not_fill_the_memory() -> None:
    spec = Preprocess(resize_size=256, crop_size=224, mean=(0.5,) * 3, std=(0.5,) * 3)
    with pytest.raises(ImageTooLargeError, match=r"resized for the model, the image would have 12800000×256"):
        preprocess(Image.new("RGB", (50_000, 1)), spec)


def test_a_crop_may_not_fill_the_memory() -> None:
    with pytest.raises(ImageTooLargeError, match=r"cropped for the model, the image would have 200000×200000"):
        preprocess(Image.new("RGB", (5, 5)), Preprocess(resize_size=5, crop_size=200_000, mean=(0.5,) * 3, std=(0.5,) * 3))


@settings(max_examples=150, deadline=None)
@given(
    width=st.integers(1, 600),
    height=st.integers(1, 600),
    resize_size=st.sampled_from([8, 32, 64, 128, 232, 256]),
    margin=st.integers(0, 40),
    interpolation=st.sampled_from([*InterpolationMode]),
    in_strips=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_what_the_crop_leaves_out_does_not_count(width, height, resize_size, margin, interpolation, in_strips, seed) -> None:
    """Both ways of leaving it out, and sides of the image that Pillow's box in float32 hits exactly."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    transform = ImageClassification(crop_size=max(1, resize_size - margin), resize_size=resize_size, interpolation=interpolation)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torchless.image.preprocess._STRIP_MAX_PIXELS", 1_500_000 if in_strips else 0)
        if resize_size * max(width, height) / min(width, height) < 20_000:
            assert_equal(Image.fromarray(pixels), transform)


@pytest.mark.parametrize("size", [(2, 6), (40, 600), (120, 300), (300, 900), (301, 901), (256, 700), (200, 700), (600, 40)])
@pytest.mark.parametrize("strip_max_pixels", [0, 1_500_000])
def test_images_that_pillow_resizes_downwards_first(size: tuple[int, int], strip_max_pixels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchless.image.preprocess._STRIP_MAX_PIXELS", strip_max_pixels)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8))
    for resize_size, crop_size in ((256, 224), (232, 224), (64, 40), (1, 1)):
        for interpolation in (InterpolationMode.BILINEAR, InterpolationMode.BICUBIC):
            assert_equal(image, ImageClassification(crop_size=crop_size, resize_size=resize_size, interpolation=interpolation))


def test_a_pillow_that_is_not_known_is_not_relied_on(images: list[Image.Image], monkeypatch: pytest.MonkeyPatch) -> None:
    spec = Preprocess(resize_size=256, crop_size=224, mean=(0.5,) * 3, std=(0.5,) * 3)
    known = [preprocess(image, spec) for image in images]
    monkeypatch.setattr("torchless.image.preprocess._PASSES_ARE_KNOWN", False)
    monkeypatch.setattr("torchless.image.preprocess._resize_strip", None)
    for image, array in zip(images, known, strict=True):
        np.testing.assert_array_equal(preprocess(image, spec), array)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_fast_differs_by_little(images: list[Image.Image], interpolation: str) -> None:
    spec = Preprocess(resize_size=60, crop_size=50, mean=(0.0,) * 3, std=(1.0,) * 3, interpolation=interpolation)
    for image in images:
        off = np.abs(preprocess(image, spec) - preprocess(image, spec, decode="fast")) * 255
        assert off.max() < 1.5
        assert (off > 0.5).mean() < 0.005
