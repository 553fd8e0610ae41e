"""Samples that do not use the range of their type: told, and put right by --value-range; transparency on a colour."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.runtime.image import bombs

from torchless import Classifier
from torchless.batch.identity import check_same_run, run_identity
from torchless.errors import UsageError
from torchless.image.decode import decode_image
from torchless.image.options import ImageOptions, parse_value_range

GREY = np.arange(256, dtype=np.uint8).reshape(16, 16)


def encoded(samples: np.ndarray, format: str = "TIFF") -> bytes:
    file = io.BytesIO()
    Image.fromarray(samples).save(file, format)
    return file.getvalue()


def uint32(samples: np.ndarray) -> bytes:
    content = samples.astype("<u4").tobytes()
    return bombs.tiff({256: 16, 257: 16, 258: 32, 273: -1, 278: 16, 279: len(content)}, content)


def deep(white: float, kind: type, black: float = 0) -> np.ndarray:
    values = black + GREY / 255 * (white - black)
    return (np.rint(values) if kind is not np.float32 else values).astype(kind)


Run = Callable[..., tuple[int, str, str]]
CASES = {
    "10 bits": (encoded(deep(1023, np.uint16)), "0:1023", "reach only 1,023 of 65,535, as those of 10 bits do"),
    "12 bits": (encoded(deep(4095, np.uint16)), "0:4095", "as those of 12 bits do"),
    "12 bits, PNG": (encoded(deep(4095, np.uint16), "PNG"), "0:4095", "as those of 12 bits do"),
    "14 bits": (encoded(deep(16383, np.uint16)), "0:16383", "as those of 14 bits do"),
    "8 bits in 16": (encoded(GREY.astype(np.uint16)), "0:255", "as those of 8 bits do"),
    "12 bits in 32": (encoded(deep(4095, np.int32)), "0:4095", "as those of 12 bits do"),
    "floats to 4095": (encoded(deep(4095, np.float32)), "0:4095", "go from 0 to 4095, and are read as 0..255"),
    "floats from -1": (encoded(deep(1, np.float32, -1)), "-1:1", "go from -1 to 1"),
    "floats above 1": (encoded(deep(1.5, np.float32)), "0:1", "go from 0 to 1.5"),
    "normalised": (encoded(deep(2.5, np.float32, -2.25)), "-2.25:2.5", "go from -2.25 to 2.5"),
    "large floats": (encoded(deep(1e10, np.float32)), "0:10000000000", "go from 0 to 1e"),
    "uint32": (uint32(deep(4294967295, np.float64)), "0:4294967295", "its 32-bit samples go from -2,1"),
    "32 bits": (uint32(deep(2147483647, np.float64)), "0:4294967295", "its 32-bit samples go from 0 to 2,147,483,647"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_range_that_is_hardly_the_right_one_is_told_with_the_likely_one(name: str) -> None:
    data, likely, words = CASES[name]
    warning = decode_image(data).warning or ""
    assert words in warning
    assert warning.endswith(f"--value-range {likely} (value_range in Python)")
    rgb, told = decode_image(data, ImageOptions(value_range=parse_value_range(likely)))
    assert told is None
    if name not in ("floats above 1", "32 bits", "large floats"):  # there the likely range is not the one of the image
        np.testing.assert_allclose(np.asarray(rgb)[:, :, 0], GREY, atol=1)


@pytest.mark.parametrize(
    "samples",
    [
        deep(65535, np.uint16), deep(17_000, np.uint16), np.zeros((4, 4), np.uint16), GREY, GREY.astype(np.int32),
        deep(65535, np.int32), deep(1, np.float32), deep(0.2, np.float32), deep(255, np.float32),
    ],
)  # fmt: skip
def test_no_word_of_a_range_that_may_be_right(samples: np.ndarray) -> None:
    assert decode_image(encoded(samples)).warning is None


def png_of_colours(white: int) -> bytes:
    samples = np.repeat(deep(white, np.uint16)[:, :, None], 3, axis=2).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in samples)
    return bombs.png(width=16, height=16, bits=16, colour=2, rows=rows)


def test_of_16_bit_colours_pillow_keeps_8() -> None:
    rgb, warning = decode_image(png_of_colours(4095))
    assert np.asarray(rgb).max() == 15
    assert warning is not None
    assert "as those of 12 bits do" in warning
    assert warning.endswith("of colours, Pillow keeps only the upper 8 of 16 bits")
    rgb, _ = decode_image(png_of_colours(4095), ImageOptions(value_range=(0, 4095)))
    np.testing.assert_allclose(np.asarray(rgb)[:, :, 1], GREY, atol=17)
    assert decode_image(png_of_colours(65535)).warning is None


def test_a_range_leaves_images_of_8_bits_alone() -> None:
    rgb, warning = decode_image(encoded(GREY), ImageOptions(value_range=(0, 4095)))
    np.testing.assert_array_equal(np.asarray(rgb)[:, :, 0], GREY)
    assert warning is None


@pytest.mark.parametrize("text", ["4095", "0-4095", "0:x", "4095:0", "1:1", "nan:1", "0:1e999", ""])
def test_what_is_no_range(text: str) -> None:
    with pytest.raises(UsageError, match="`value_range`"):
        parse_value_range(text)
    assert parse_value_range("-1:1") == (-1, 1)
    assert parse_value_range("0.5:1e3") == (0.5, 1000)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "PA"])
@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_transparency_is_on_the_colour_that_was_asked_for(mode: str, format: str) -> None:
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    image.paste((200, 0, 0, 255), (2, 2, 6, 6))
    file = io.BytesIO()
    if (mode, format) == ("P", "PNG"):
        image.quantize().save(file, format)
    else:
        image.convert("LA" if mode == "PA" else mode).save(file, "PNG" if mode in ("P", "PA") else format)
    for background, corner in ((None, (0, 0, 0)), ("white", (255, 255, 255)), ("#00ff10", (0, 255, 16))):
        rgb = decode_image(file.getvalue(), ImageOptions(background=background)).rgb
        assert rgb.mode == "RGB"
        assert rgb.getpixel((0, 0)) == corner or mode == "P"
        assert rgb.getpixel((4, 4)) not in ((0, 0, 0), (255, 255, 255))


def test_a_background_leaves_opaque_images_alone() -> None:
    photo = Image.effect_noise((9, 9), 50).convert("RGB")
    assert decode_image(photo, ImageOptions(background="white")).rgb is photo
    with pytest.raises(UsageError, match="`background` takes a colour, such as white or #ffcc00; got 'whiet'"):
        ImageOptions(background="whiet")


def test_the_warning_is_in_the_row_and_told_once(
    command_line: Run, tiny: Path, tmp_path: Path, changed: Callable[..., Path]
) -> None:
    for name in ("a.tif", "b.tif"):
        (tmp_path / name).write_bytes(CASES["12 bits"][0])
    (tmp_path / "c.png").write_bytes(encoded(GREY, "PNG"))
    code, out, err = command_line("infer", tiny, tmp_path, "-f", "jsonl", "-d", "cpu")
    rows = [json.loads(line) for line in out.splitlines()]
    assert [("warning" in row) for row in rows] == [True, True, False]
    assert code == 0
    assert f"2 images have a warning in their row; the first is {tmp_path / 'a.tif'}: its 16-bit samples" in err
    code, out, err = command_line("infer", tiny, tmp_path / "a.tif", "-d", "cpu", "--value-range", "0:4095")
    assert (code, err, "  warning: " in out) == (0, "", False)
    code, out, err = command_line("infer", tiny, tmp_path / "a.tif", "-d", "cpu")
    assert err.startswith(f"warning: {tmp_path / 'a.tif'}: its 16-bit samples reach only 4,095")
    assert "  warning: its 16-bit" in out
    assert command_line("infer", tiny, tmp_path / "a.tif", "--value-range", "9:0")[0] == 2


def test_a_run_with_a_range_is_resumed_with_the_same_one(tiny: Path) -> None:
    classifier = Classifier(tiny, device="cpu")
    first, same, other = (
        run_identity(classifier, tiny, ImageOptions(value_range=(0, white))) for white in (4095, 4095, 1023)
    )
    check_same_run(tiny, json.loads(json.dumps(first)), same)
    with pytest.raises(UsageError, match="`value_range`"):
        check_same_run(tiny, json.loads(json.dumps(first)), other)
