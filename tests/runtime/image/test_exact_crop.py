"""The shortcuts of preprocessing against the plain function, bit for bit. tests/export/oracle compares that with
torchvision.
"""

from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import assume, given, settings
from PIL import Image
from tests.preprocessing import is_modest, noise, pictures, specs

from torchless.errors import ImageTooLargeError
from torchless.image import exact_crop
from torchless.image.exact_crop import preprocess_crop
from torchless.image.preprocess import RESAMPLING, preprocess
from torchless.model.preprocessing import Preprocess

NUMBERS = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def assert_same(image: Image.Image, spec: Preprocess) -> None:
    got, wanted = preprocess_crop(image, spec), preprocess(image, spec)
    assert got.dtype == wanted.dtype == np.float32
    np.testing.assert_array_equal(got, wanted)


@settings(max_examples=300)
@given(
    width=st.integers(1, 600),
    height=st.integers(1, 600),
    resize_size=st.sampled_from([8, 32, 64, 128, 232, 256]) | st.integers(1, 300),
    crop=st.integers(-40, 40),
    interpolation=st.sampled_from([*RESAMPLING]),
    in_strips=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_image_and_preset(width, height, resize_size, crop, interpolation, in_strips, seed) -> None:
    """Both ways of leaving pixels out, sides that Pillow's box in float32 hits exactly, and crops larger than the
    image.
    """
    assume(resize_size * max(width, height) / min(width, height) < 20_000)
    spec = Preprocess.centered(
        resize=resize_size, crop=max(1, resize_size + crop), interpolation=interpolation, **NUMBERS
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact_crop, "_STRIP_MAX_PIXELS", 1_500_000 if in_strips else 0)
        assert_same(noise(width, height, seed), spec)


@settings(max_examples=300)
@given(spec=specs(), image=pictures(200), in_strips=st.booleans())
def test_any_preprocessing(spec: Preprocess, image: Image.Image, in_strips: bool) -> None:
    assume(is_modest(image, spec))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact_crop, "_STRIP_MAX_PIXELS", 1_500_000 if in_strips else 0)
        assert_same(image, spec)


@settings(max_examples=50)
@given(
    mean=st.tuples(*[st.floats(-1, 2)] * 3), std=st.tuples(*[st.floats(0.01, 3)] * 3), seed=st.integers(0, 2**32 - 1)
)
def test_any_numbers(mean, std, seed) -> None:
    assert_same(noise(40, 30, seed), Preprocess.centered(resize=32, crop=28, mean=mean, std=std))


@pytest.mark.parametrize(
    "size", [(2, 6), (40, 600), (120, 300), (300, 900), (301, 901), (256, 700), (200, 700), (600, 40)]
)
@pytest.mark.parametrize("strip_max_pixels", [0, 1_500_000])
def test_images_that_pillow_resizes_downwards_first(
    size: tuple[int, int], strip_max_pixels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exact_crop, "_STRIP_MAX_PIXELS", strip_max_pixels)
    for resize_size, crop_size in ((256, 224), (232, 224), (64, 40), (1, 1)):
        for interpolation in ("bilinear", "bicubic"):
            assert_same(
                noise(*size),
                Preprocess.centered(resize=resize_size, crop=crop_size, interpolation=interpolation, **NUMBERS),
            )


@pytest.mark.parametrize(
    "size", [(301, 199), (512, 384), (1600, 1200)]
)  # in strips; in strips, with an exact box; at once
def test_the_shortcuts_are_taken(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact_crop, "_whole_crop", None)
    assert_same(noise(*size), Preprocess.centered(resize=256, crop=224, **NUMBERS))


def test_a_pillow_that_is_not_known_is_not_relied_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact_crop, "_PASSES_ARE_KNOWN", False)
    monkeypatch.setattr(exact_crop, "_strip", None)
    for size in ((600, 400), (640, 427), (512, 512), (100, 100), (400, 600)):
        assert_same(noise(*size), Preprocess.centered(resize=256, crop=224, **NUMBERS))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
def test_fast_differs_by_little(photos: Path, interpolation: str) -> None:
    spec = Preprocess.centered(resize=60, crop=50, mean=(0.0,) * 3, std=(1.0,) * 3, interpolation=interpolation)
    images = [
        Image.open(photos / name).convert("RGB")
        for name in ("coffee.png", "rocket.jpg", "astronaut.png", "microaneurysms.png")
    ]
    for image in (*images, images[0].rotate(90, expand=True)):
        off = np.abs(preprocess_crop(image, spec) - preprocess_crop(image, spec, decode="fast")) * 255
        assert off.max() < 1.5
        assert (off > 0.5).mean() < 0.01


@settings(max_examples=100)
@given(spec=specs(), image=pictures(200))
def test_fast_works_with_any_preprocessing(spec: Preprocess, image: Image.Image) -> None:
    """How near it is to the exact one depends on the image: test_fast_differs_by_little measures it on photos."""
    assume(is_modest(image, spec))
    got, wanted = preprocess_crop(image, spec, decode="fast"), preprocess(image, spec)
    assert (got.shape, got.dtype) == (wanted.shape, wanted.dtype)
    assert np.isfinite(got).all()


def test_a_line_of_pixels_may_not_fill_the_memory() -> None:
    with pytest.raises(ImageTooLargeError, match=r"resized for the model, the image would have 12800000×256"):
        preprocess_crop(Image.new("RGB", (50_000, 1)), Preprocess.centered(resize=256, crop=224, **NUMBERS))


def test_a_crop_may_not_fill_the_memory() -> None:
    with pytest.raises(ImageTooLargeError, match=r"cropped for the model, the image would have 200000×200000"):
        preprocess_crop(Image.new("RGB", (5, 5)), Preprocess.centered(resize=5, crop=200_000, **NUMBERS))
