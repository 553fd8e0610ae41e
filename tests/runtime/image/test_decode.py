import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from torchless.errors import ImageDecodeError, ImageError, ImageReadError, ImageTooLargeError
from torchless.image import decode as images
from torchless.image.decode import load_rgb
from torchless.image.formats import FORMATS
from torchless.image.options import ImageOptions


def encode(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


@pytest.fixture
def photo(photos: Path) -> Image.Image:
    return Image.open(photos / "chelsea.png").convert("RGB").resize((120, 80))


@pytest.mark.parametrize("format", FORMATS)
def test_formats(photo: Image.Image, format: str) -> None:
    data = encode(photo, format)
    with Image.open(io.BytesIO(data)) as opened:
        np.testing.assert_array_equal(load_rgb(data), opened.convert("RGB"))


@pytest.mark.parametrize("format", ["GIF", "TIFF", "WEBP"])
def test_the_first_frame_counts(photo: Image.Image, format: str) -> None:
    data = encode(Image.new("RGB", photo.size, "red"), format, save_all=True, append_images=[photo, photo])
    assert load_rgb(data).getpixel((5, 5))[0] > 200
    assert load_rgb(data).getpixel((5, 5))[2] < 60


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_modes_convert_as_torchvisions_loader_does(photo: Image.Image, mode: str) -> None:
    np.testing.assert_array_equal(load_rgb(photo.convert(mode)), photo.convert(mode).convert("RGB"))


@pytest.mark.parametrize("transparency", [0, b"\x00\x80\xff" * 40])
def test_transparency_is_dropped(photo: Image.Image, transparency: int | bytes) -> None:
    palette = photo.convert("P")
    palette.info["transparency"] = transparency
    np.testing.assert_array_equal(load_rgb(encode(palette, "PNG")), photo.convert("P").convert("RGB"))


@pytest.mark.parametrize(
    ("mode", "scale"),
    [
        ("I;16", lambda grey: grey.astype(np.uint16) * 257),
        ("I", lambda grey: grey.astype(np.int32) * 257),
        ("I", lambda grey: grey.astype(np.int32)),
        ("F", lambda grey: grey.astype(np.float32) / 255),
        ("F", lambda grey: grey.astype(np.float32)),
    ],
)
def test_deep_images_are_scaled_to_eight_bits(photo: Image.Image, mode: str, scale: Callable) -> None:
    grey = photo.convert("L")
    deep = Image.fromarray(scale(np.asarray(grey)))
    assert deep.mode == mode
    np.testing.assert_array_equal(load_rgb(encode(deep, "TIFF")), grey.convert("RGB"))


def test_a_png_of_16_bits(photo: Image.Image) -> None:
    grey = photo.convert("L")
    np.testing.assert_array_equal(
        load_rgb(encode(Image.fromarray(np.asarray(grey).astype(np.uint16) * 257), "PNG")), grey.convert("RGB")
    )


def test_samples_that_are_no_numbers() -> None:
    with pytest.raises(ImageDecodeError, match="NaN"):
        load_rgb(Image.fromarray(np.full((4, 4), np.nan, dtype=np.float32)))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(photo: Image.Image, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(photo, "JPEG", exif=exif)
    with Image.open(io.BytesIO(data)) as opened:
        np.testing.assert_array_equal(load_rgb(data), ImageOps.exif_transpose(opened).convert("RGB"))
        np.testing.assert_array_equal(load_rgb(data, ImageOptions(apply_exif=False)), opened.convert("RGB"))


@pytest.mark.parametrize(
    "exif", [b"Exif\x00\x00garbage", b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12", b"Exif\x00\x00"]
)
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_does_not_make_an_image_unreadable(photo: Image.Image, exif: bytes) -> None:
    data = encode(photo, "JPEG", exif=exif)
    assert load_rgb(data).size == photo.size


def test_arrays(photo: Image.Image) -> None:
    array = np.asarray(photo)
    np.testing.assert_array_equal(load_rgb(array), array)
    np.testing.assert_array_equal(load_rgb(array[:, :, 0]), np.stack([array[:, :, 0]] * 3, axis=-1))
    np.testing.assert_array_equal(load_rgb(array[:, :, :1]), np.stack([array[:, :, 0]] * 3, axis=-1))


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros(4, np.uint8),
    ],
)
def test_arrays_of_another_kind_are_refused(array: np.ndarray) -> None:
    with pytest.raises(ImageDecodeError, match="an image array must"):
        load_rgb(array)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path / "none.jpg", tmp_path, "nul\0.jpg"):
        with pytest.raises(ImageReadError, match="cannot read"):
            load_rgb(path)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"\xff\xd8\xff\xe0",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        b"GIF89a",
        b"RIFF\0\0\0\0WEBP",
    ],
)
def test_what_is_no_image(data: bytes) -> None:
    with pytest.raises(ImageDecodeError):
        load_rgb(data)


@pytest.mark.parametrize("format", sorted(set(FORMATS) - {"TGA"}))  # half a TGA might be none
def test_truncated_images(photo: Image.Image, format: str) -> None:
    data = encode(photo, format)
    with pytest.raises(ImageDecodeError):
        load_rgb(data[: len(data) // 2])


def test_the_limit_on_pixels_comes_before_decoding(photo: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # as the command line sets it
    data = encode(Image.new("1", (20_000, 5_001)), "PNG")  # 12 kB, 100.02 megapixels
    with pytest.raises(
        ImageTooLargeError, match=r"20000×5001 = 100 megapixels, the limit is 100; raise it with --max-megapixels"
    ):
        load_rgb(data)
    with pytest.raises(ImageTooLargeError, match="the limit is 0.0095"):
        load_rgb(photo, ImageOptions(max_pixels=120 * 80 - 100))
    assert load_rgb(photo, ImageOptions(max_pixels=120 * 80)).size == photo.size


def test_pillows_own_limit_gives_our_error(photo: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ImageTooLargeError, match="decompression bomb"):
        load_rgb(encode(photo, "PNG"))


def test_every_failure_is_an_image_error() -> None:
    assert issubclass(ImageReadError, ImageError)
    assert issubclass(ImageReadError, OSError)
    assert ImageError.exit_code == 1


def test_other_kinds_of_bytes(photo: Image.Image) -> None:
    data = encode(photo, "PNG")
    for kind in (bytearray(data), memoryview(data)):
        np.testing.assert_array_equal(load_rgb(kind), photo)
    with pytest.raises(ImageReadError, match="cannot read an image from a int: give a path, bytes"):
        load_rgb(3)


def test_transparency_leaves_the_callers_image_alone(photo: Image.Image) -> None:
    palette = photo.convert("P")
    palette.info["transparency"] = b"\x00" * 256
    load_rgb(palette)
    assert palette.info["transparency"] == b"\x00" * 256


@pytest.mark.parametrize(
    ("side", "size"), [(50, (200, 134)), (67, (400, 267)), (25, (100, 67)), (None, (800, 533)), (9000, (800, 533))]
)
@pytest.mark.parametrize("orientation", [1, 6])
def test_fast_decodes_a_jpeg_no_larger_than_needed(
    photos: Path, side: int | None, size: tuple[int, int], orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(Image.open(photos / "chelsea.png").convert("RGB").resize((800, 533)), "JPEG", exif=exif)
    exact, fast = load_rgb(data, short_side=side), load_rgb(data, ImageOptions(decode="fast"), short_side=side)
    assert exact.size == ((800, 533) if orientation == 1 else (533, 800))
    assert fast.size == (size if orientation == 1 else size[::-1])
    off = np.abs(np.asarray(fast).astype(int) - exact.resize(fast.size, Image.Resampling.BOX))
    assert off.mean() < 5  # not on its side, not mirrored


def test_fast_keeps_the_limit_on_pixels_and_other_formats(photo: Image.Image) -> None:
    options = ImageOptions(decode="fast", max_pixels=120 * 80 - 1)
    with pytest.raises(ImageTooLargeError, match="the image has 120×80"):
        load_rgb(encode(photo, "JPEG"), options, short_side=10)
    for format in ("PNG", "WEBP", "GIF"):
        data = encode(photo, format)
        np.testing.assert_array_equal(load_rgb(data, ImageOptions(decode="fast"), short_side=10), load_rgb(data))


def test_an_rgb_image_is_not_copied(photo: Image.Image) -> None:
    assert load_rgb(photo) is photo


@pytest.mark.parametrize(("variable", "kept"), [(None, 12), ("3", 5)])
def test_a_program_keeps_the_memory_of_images_unless_it_was_told_how_much(
    variable: str | None, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Image.core.get_blocks_max()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    monkeypatch.setattr(images.warnings, "filterwarnings", lambda *_, **__: None)
    if variable is not None:
        monkeypatch.setenv("PILLOW_BLOCKS_MAX", variable)
    try:
        Image.core.set_blocks_max(5)
        images.take_pillow_over(2)
        assert (Image.core.get_blocks_max(), Image.MAX_IMAGE_PIXELS) == (kept, None)
    finally:
        Image.core.set_blocks_max(before)
