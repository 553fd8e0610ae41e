"""Files that end early, and formats of plugins that the user registered."""

import io
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile
from tests.surroundings import PATIENCE_S

from torchless import Classifier
from torchless.errors import ImageDecodeError, UsageError
from torchless.image.decode import decode_image, load_rgb
from torchless.image.options import ImageOptions
from torchless.image.truncated import accepting_truncated

LENIENT = ImageOptions(truncated=True)
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def photo(photos: Path) -> Image.Image:
    return Image.open(photos / "chelsea.png").convert("RGB").resize((120, 80))


def half(photo: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    photo.save(file, format, **options)
    return file.getvalue()[: len(file.getvalue()) // 2]


@pytest.mark.parametrize(
    ("format", "options"),
    [("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("GIF", {}), ("BMP", {}), ("TIFF", {})],
)
def test_a_truncated_file_is_read_as_pillow_reads_it_when_it_is_told_to(
    photo: Image.Image, format: str, options: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = half(photo, format, **options)
    with pytest.raises(ImageDecodeError):
        load_rgb(data)
    rgb, warning = decode_image(data, LENIENT)
    assert warning is not None
    assert warning.startswith("the file ends early or is damaged, and what it lacks is empty: cannot decode: ")
    with pytest.raises(ImageDecodeError):  # the switch is off again
        load_rgb(data)
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)  # as in training scripts
    with Image.open(io.BytesIO(data)) as opened:
        np.testing.assert_array_equal(rgb, opened.convert("RGB"))
    np.testing.assert_array_equal(rgb, load_rgb(data))


def test_whole_files_and_files_that_are_no_images_stay_what_they_are(photo: Image.Image) -> None:
    file = io.BytesIO()
    photo.save(file, "PNG")
    assert decode_image(file.getvalue(), LENIENT).warning is None
    for data in (b"hello", half(photo, "PNG")[:20], half(photo, "JPEG")[:30]):
        with pytest.raises(ImageDecodeError):
            load_rgb(data, LENIENT)


def test_an_image_that_the_caller_opened_may_be_truncated(photo: Image.Image) -> None:
    with Image.open(io.BytesIO(half(photo, "JPEG"))) as opened:
        assert load_rgb(opened, LENIENT).size == photo.size


def test_those_that_want_whole_files_wait_while_the_switch_is_on() -> None:
    seen, entered, leave = [], threading.Event(), threading.Event()

    def strict() -> None:
        with accepting_truncated(False):
            seen.append(ImageFile.LOAD_TRUNCATED_IMAGES)

    def lenient() -> None:
        with accepting_truncated(True):
            entered.set()
            leave.wait(PATIENCE_S)
            seen.append(ImageFile.LOAD_TRUNCATED_IMAGES)

    threads = [threading.Thread(target=work) for work in (lenient, strict)]
    threads[0].start()
    entered.wait(PATIENCE_S)
    threads[1].start()
    with accepting_truncated(True):  # others of its kind go on
        assert ImageFile.LOAD_TRUNCATED_IMAGES
    assert seen == []
    leave.set()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert seen == [True, False]
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


def test_every_command_takes_truncated_files_if_it_is_told_to(
    command_line: Run, tiny: Path, tmp_path: Path, photo: Image.Image
) -> None:
    for label in ("zero", "one"):
        (tmp_path / "data" / label).mkdir(parents=True)
        (tmp_path / "data" / label / "a.jpg").write_bytes(half(photo, "JPEG"))
    images = tmp_path / "data" / "zero"
    assert command_line("infer", tiny, images, "-d", "cpu")[0] == 1
    code, out, err = command_line("infer", tiny, images, "-d", "cpu", "--truncated")
    assert (code, "  warning: the file ends early" in out, "the file ends early" in err) == (0, True, True)


class Plain(ImageFile.ImageFile):
    """A format of the user's: a name, then one byte for each of 8×8 pixels."""

    format, format_description = "PLAIN", "Plain"

    def _open(self) -> None:
        self._size, self._mode = (8, 8), "L"
        self.tile = [("raw", (0, 0, 8, 8), 5, ("L", 0, 1))]


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> bytes:
    for registry in (Image.ID, Image.OPEN):
        monkeypatch.setattr(Image, "ID" if registry is Image.ID else "OPEN", registry.copy())
    Image.register_open("PLAIN", Plain, lambda prefix: prefix.startswith(b"PLAIN"))
    return b"PLAIN" + bytes(range(64))


def test_a_plugin_that_the_user_registered_reads_files(plain: bytes, tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(ImageDecodeError, match="not an image of a supported format"):
        load_rgb(plain)
    assert load_rgb(plain, ImageOptions(formats=("PLAIN",))).getpixel((7, 7)) == (63, 63, 63)
    (tmp_path / "image.jpg").write_bytes(plain)
    classifier = Classifier(tiny, device="cpu", image_options=ImageOptions(formats=("PLAIN",)))
    assert classifier.classify(tmp_path / "image.jpg").ok
    assert load_rgb(half(Image.new("RGB", (9, 9)), "BMP") + bytes(400), ImageOptions(formats=("PLAIN",))).size == (9, 9)


def test_a_format_without_a_plugin_is_refused_when_the_model_is_opened(tiny: Path) -> None:
    with pytest.raises(UsageError, match=r"ImageOptions\.formats names 'NONE', which is not registered with Pillow"):
        Classifier(tiny, device="cpu", image_options=ImageOptions(formats=("NONE",)))
