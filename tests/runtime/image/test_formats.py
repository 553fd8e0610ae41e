import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.data import DATA

from torchless.errors import ImageDecodeError
from torchless.image.decode import load_rgb
from torchless.image.formats import (
    FORMATS,
    HEIF,
    PLUGINS,
    SUFFIXES,
    format_by_name,
    format_of,
    is_image_name,
    name_other,
)

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64)


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_is_known_by_its_content(format: str) -> None:
    file = io.BytesIO()
    Image.new("RGB", (48, 48), "orange").save(file, format)
    assert format_of(file.getvalue()) == format
    assert load_rgb(file.getvalue()).size == (48, 48)


@pytest.mark.parametrize(
    ("beginning", "format"),
    [
        (HEIC, HEIF),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "AVIF"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1heicmiaf", HEIF),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", None),
        (b"P4\n9 9\n", "PPM"),
        (b"Pf\n9 9\n-1.0\n", "PPM"),
        (b"Password: no", None),
        (b"\xff\x4f\xff\x51\0\x2f", "JPEG2000"),
        (b"\0\0\2\0\1\0\x10\x10" + bytes(60), None),  # a cursor of Windows, which Pillow's TGA plugin accepts
        (bytes(100), None),
        (b"RIFF\0\0\0\0WAVE", None),
    ],
)
def test_content_that_is_easily_mistaken(beginning: bytes, format: str | None) -> None:
    assert format_of(beginning) == format


def test_every_suffix_that_torchvision_and_pillow_give_these_formats() -> None:
    Image.init()
    pillows = {suffix for suffix, format in Image.EXTENSION.items() if format in FORMATS}
    torchvisions = {".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"}
    assert pillows | torchvisions | {".heic", ".heif", ".mpo"} <= SUFFIXES
    assert is_image_name("A.HEIC")
    assert not is_image_name("a.eps")


def test_nothing_that_starts_programs_is_allowed() -> None:
    assert not {"EPS", "WMF", "IMT", "GRIB", "HDF5", "BUFR", "MPEG", "SPIDER", "FPX", "MIC"} & set(FORMATS)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"%PDF-1.7 ...", "a PDF document"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "PostScript"),
        (b"\xef\xbb\xbf<?xml version='1.0'?><svg xmlns='x'/>", "an SVG drawing"),
        (b"\n<!DOCTYPE html><title>404</title>", "an HTML page"),
        (b"<annotation/>", "XML"),
        (b"label,image\n", "text"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "a video"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        ((DATA / "tiny.onnx").read_bytes(), "an ONNX model"),
    ],
)
def test_what_is_no_image_is_named(data: bytes, words: str) -> None:
    assert words in (name_other(data) or "")
    with pytest.raises(ImageDecodeError, match=rf"^it is .*{words}.*, not an image of a supported format$"):
        load_rgb(data)


def test_heic_without_its_extra_is_named_by_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "photo.jpg").write_bytes(HEIC)
    with pytest.raises(
        ImageDecodeError, match=r"it is HEIC or HEIF by its content; .* pip install 'torchless\[heif\]'"
    ):
        load_rgb(tmp_path / "photo.jpg")


def test_a_format_that_an_old_pillow_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL.AvifImagePlugin", None)
    with pytest.raises(ImageDecodeError, match=r"it is AVIF, which this version of Pillow cannot read"):
        load_rgb(b"\0\0\0\x18ftypavif\0\0\0\0mif1avif" + bytes(64))


def test_plugins_are_imported_when_they_are_needed() -> None:
    """Starting costs time, and a codec that nobody imported has no holes."""
    script = """
import io, sys
from PIL import Image
from torchless.image.decode import load_rgb
data = io.BytesIO(); Image.new("RGB", (9, 9)).save(data, "PNG"); load_rgb(data.getvalue())
print(" ".join(name for name in sys.modules if name.startswith("PIL.") and name.endswith("ImagePlugin")))
"""
    got = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    rare = {f"PIL.{PLUGINS[name]}" for name in ("AVIF", "JPEG2000", "ICO", "DDS", "QOI", "TGA", "WEBP")}
    assert not rare & set(got)
    assert "PIL.EpsImagePlugin" not in got


def test_formats_and_names_need_neither_pillow_nor_numpy() -> None:
    script = "import sys, torchless.image.formats; print('PIL' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "False\n"


def test_samples_survive(tmp_path: Path) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    for format in ("PPM", "TGA", "DDS", "QOI", "ICO", "DIB"):
        file = io.BytesIO()
        Image.fromarray(photo).save(file, format, **({"sizes": [(7, 9)]} if format == "ICO" else {}))
        np.testing.assert_array_equal(load_rgb(file.getvalue()), photo)


@pytest.mark.parametrize(
    ("name", "format"), [("a.JPG", "JPEG"), ("b.c/d.tiff", "TIFF"), ("x.heic", HEIF), ("x.txt", None), ("jpg", None)]
)
def test_a_name_tells_which_plugin_will_probably_be_needed(name: str, format: str | None) -> None:
    assert format_by_name(name) == format


def test_what_a_name_says_is_imported_ahead_and_nothing_fails() -> None:
    script = """
import sys
from torchless.image.opening import import_for
import_for("photo.heic")  # of the extra heif, which may be missing: told when the image is opened
import_for("photo.webp")
print("PIL.WebPImagePlugin" in sys.modules, "torchless.image.limits.others" in sys.modules)
"""
    assert subprocess.check_output([sys.executable, "-c", script], text=True).split() == ["True", "True"]
