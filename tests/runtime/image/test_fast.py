import importlib
import io
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.runtime.image.test_exact_crop import NUMBERS

from torchless.errors import ImageDecodeError, ImageTooLargeError
from torchless.image import fast
from torchless.image.decode import decode_image, load_rgb
from torchless.image.exact_crop import preprocess_crop
from torchless.image.options import ImageOptions
from torchless.model.preprocessing import Preprocess

FAST = ImageOptions(decode="fast")


@pytest.fixture
def photo(photos: Path) -> Image.Image:
    return Image.open(photos / "coffee.png").convert("RGB")


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    def block(*names: str) -> None:
        for name in names:
            monkeypatch.setitem(sys.modules, name, None)
        fast._package.cache_clear()

    yield block
    monkeypatch.undo()
    fast._package.cache_clear()


def jpeg(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, options.pop("format", "JPEG"), **options)
    return buffer.getvalue()


def decoded_by_the_extra(data: bytes) -> Image.Image | None:
    with Image.open(io.BytesIO(data)) as opened:
        return fast.decode_jpeg(data, opened)


@pytest.mark.parametrize(
    "options",
    [{}, {"progressive": True}, {"subsampling": 0}, {"subsampling": 1, "quality": 20}, {"restart_marker_blocks": 3}],
)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_the_other_decoder_gives_pillows_pixels(photo: Image.Image, mode: str, options: dict[str, object]) -> None:
    data = jpeg(photo.crop((0, 0, 301, 199)).convert(mode), **options)
    found = decoded_by_the_extra(data)
    assert found is not None
    assert found.mode == mode
    np.testing.assert_array_equal(found, Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(load_rgb(data, FAST), load_rgb(data))


def test_a_smaller_decoding_is_pillows_too(photo: Image.Image, without: Callable[..., None]) -> None:
    data = jpeg(photo)
    found = load_rgb(data, FAST, short_side=45)
    without("simplejpeg")
    assert found.size == (150, 100)
    assert np.abs(np.asarray(found).astype(int) - load_rgb(data, FAST, short_side=45)).max() <= 2


def test_what_is_no_plain_jpeg_is_left_to_pillow(photo: Image.Image) -> None:
    damaged = bytearray(jpeg(photo))
    damaged[len(damaged) // 2 : len(damaged) // 2 + 2] = b"\xff\x3f"
    for data in (jpeg(photo.convert("CMYK")), jpeg(photo, format="PNG"), jpeg(photo)[:-500], bytes(damaged)):
        assert decoded_by_the_extra(data) is None
    np.testing.assert_array_equal(load_rgb(jpeg(photo.convert("CMYK")), FAST), load_rgb(jpeg(photo.convert("CMYK"))))


def test_a_very_large_image_is_in_memory_once(photo: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast, "_MOST_PIXELS", 600 * 400 - 1)
    assert decoded_by_the_extra(jpeg(photo)) is None
    assert decoded_by_the_extra(jpeg(photo.crop((0, 0, 600, 399)))) is not None


def test_a_header_that_the_two_read_differently_is_left_to_pillow(photo: Image.Image) -> None:
    small, large = jpeg(photo.resize((40, 30))), jpeg(photo)
    with Image.open(io.BytesIO(small)) as opened:
        assert fast.decode_jpeg(large, opened) is None


def test_limits_orientation_and_truncated_files_are_as_ever(photo: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = jpeg(photo, exif=exif)
    np.testing.assert_array_equal(load_rgb(data, FAST), load_rgb(data))
    with pytest.raises(ImageTooLargeError, match="the image has 600×400"):
        load_rgb(data, ImageOptions(decode="fast", max_pixels=600 * 400 - 1))
    with pytest.raises(ImageDecodeError, match="truncated"):
        load_rgb(data[:-5000], FAST)
    rgb, warning = decode_image(data[:-5000], ImageOptions(decode="fast", truncated=True))
    np.testing.assert_array_equal(rgb, load_rgb(data[:-5000], ImageOptions(truncated=True)))
    assert warning is not None


@pytest.mark.parametrize("crop", [48, None])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_the_other_resize_is_used(
    photo: Image.Image, mode: str, crop: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = replace(Preprocess.centered(resize=64, crop=48, **NUMBERS), crop=crop and (crop, crop))
    spec = replace(spec, grayscale="first" if mode == "L" else None)
    wanted = preprocess_crop(photo, spec)
    monkeypatch.setattr(Image.Image, "resize", None)
    assert np.abs(preprocess_crop(photo, spec, decode="fast") - wanted).max() < 0.02


@pytest.mark.parametrize(
    ("size", "resize", "crop"), [((50, 40), 64, 48), ((49, 20_011), 49, 49), ((1021, 767), 766, 765)]
)
def test_the_box_is_never_outside(size: tuple[int, int], resize: int, crop: int) -> None:
    image = Image.new("RGB", size, (10, 20, 30))
    spec = Preprocess.centered(resize=resize, crop=crop, **NUMBERS)
    np.testing.assert_allclose(preprocess_crop(image, spec, decode="fast"), preprocess_crop(image, spec))


def test_without_the_extra_pillow_does_it(photo: Image.Image, without: Callable[..., None]) -> None:
    spec = Preprocess.centered(resize=64, crop=48, **NUMBERS)
    data = jpeg(photo)
    without("simplejpeg", "cykooz_resizer")
    assert fast.missing_packages() == ("simplejpeg", "cykooz_resizer")
    assert decoded_by_the_extra(data) is None
    np.testing.assert_array_equal(load_rgb(data, FAST), load_rgb(data))
    off = np.abs(preprocess_crop(photo, spec, decode="fast") - preprocess_crop(photo, spec))
    assert off.max() < 0.02


def test_a_pillow_with_another_layout_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, without: Callable[..., None]
) -> None:
    monkeypatch.setattr(fast, "_LAYOUT_IS_KNOWN", False)
    without()
    assert fast.missing_packages() == ("cykooz_resizer",)
    importlib.import_module("cykooz_resizer")
