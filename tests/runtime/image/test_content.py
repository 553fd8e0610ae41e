import base64
import io
import os
import socket
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from torchless.errors import ImageError, ImageReadError, ImageTooLargeError
from torchless.image.content import content_of, name_of, read_limited
from torchless.image.decode import load_rgb
from torchless.image.options import ImageOptions

MB = 1_000_000


@pytest.fixture
def png(photos: Path) -> bytes:
    return (photos / "coffee.png").read_bytes()


@pytest.fixture
def open_files(png: bytes, photos: Path, tmp_path: Path) -> Iterator[list]:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.png", png)
    with (
        (photos / "coffee.png").open("rb") as file,
        tempfile.SpooledTemporaryFile() as spooled,
        zipfile.ZipFile(tmp_path / "a.zip") as archive,
        archive.open("a.png") as member,
    ):
        spooled.write(png)  # and stands at its end
        yield [io.BytesIO(png), file, spooled, member]


def test_open_files_are_read_from_their_beginning_and_stay_open(png: bytes, open_files: list) -> None:
    for file in open_files:
        for _ in range(2):
            assert content_of(file, MB) == png
        assert not file.closed
        np.testing.assert_array_equal(load_rgb(file), load_rgb(png))


class Feed:
    """Nothing but read(), as of a response: it cannot go back, and gives what it has."""

    def __init__(self, content: bytes) -> None:
        self._parts = [content[i : i + 1000] for i in range(0, len(content), 1000)]

    def read(self, size: int = -1) -> bytes:
        return self._parts.pop(0) if self._parts else b""


def test_a_file_that_gives_its_bytes_in_parts(png: bytes) -> None:
    assert content_of(Feed(png), MB) == png


class Upload:
    filename = "cat.jpg"

    async def read(self, size: int = -1) -> bytes:
        return b""


@pytest.mark.parametrize(
    ("file", "told"),
    [
        (io.StringIO("abc"), "the StringIO gives text: open the file with mode 'rb'"),
        (Upload(), "a Upload is read with await: give `await file.read\\(\\)`"),
        (type("Odd", (), {"read": lambda self, size: 7})(), "the Odd gives no bytes, but int"),
        (type("Shut", (), {"read": lambda self, size: io.BytesIO().close() or 1 / 0})(), "division"),
    ],
)
def test_files_that_give_no_bytes(file: object, told: str) -> None:
    with pytest.raises(ZeroDivisionError if told == "division" else ImageReadError, match=told):
        content_of(file, MB)


def test_a_closed_file() -> None:
    file = io.BytesIO(b"abc")
    file.close()
    with pytest.raises(ImageReadError, match="cannot read the BytesIO: I/O operation on closed file"):
        content_of(file, MB)


def test_more_than_the_limit_is_not_read(tmp_path: Path, png: bytes) -> None:
    taken = 0

    def endless(size: int) -> bytes:
        nonlocal taken
        taken += size
        return bytes(size)

    with pytest.raises(ImageTooLargeError, match="the image file has more than 3 MB; raise it with --max-image-mb"):
        read_limited(endless, 3 * MB)
    assert taken == 3 * MB + 1
    sparse = tmp_path / "sparse.png"
    with sparse.open("wb") as file:
        file.truncate(200 * 1000**3)
    for big in (sparse, type("Endless", (), {"read": lambda self, size: bytes(size)})()):
        with pytest.raises(ImageTooLargeError, match="the image file has more than 1000 MB"):
            load_rgb(big) if big is sparse else content_of(big, 1000 * MB)
    assert content_of(io.BytesIO(png), len(png)) == png
    with pytest.raises(ImageTooLargeError):
        load_rgb(io.BytesIO(png), ImageOptions(max_bytes=len(png) - 1))


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    """Opening the pipe would wait for ever, and reading the device would not end."""
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket.gif"))
        for name, what in (("pipe.jpg", "a pipe"), ("zero.png", "a device"), ("socket.gif", "a socket")):
            with pytest.raises(ImageReadError, match=f"cannot read .*{name}: it is {what}, not a file"):
                load_rgb(tmp_path / name)
    with pytest.raises(ImageReadError, match="Is a directory"):
        load_rgb(tmp_path)


def test_a_pipe_that_the_shell_hands_over_is_read(png: bytes) -> None:
    """As of `infer MODEL <(program)`."""
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as file:
        file.write(png[:40_000])
    with os.fdopen(reader):
        assert content_of(f"/dev/fd/{reader}", MB) == png[:40_000]


@pytest.mark.parametrize("text", ["{base64}", "data:image/png;base64,{base64}", "{lines}", "{urlsafe}"])
@pytest.mark.parametrize("as_bytes", [False, True])
def test_text_that_holds_an_image_is_named_in_a_short_error(png: bytes, text: str, as_bytes: bool) -> None:
    text = text.format(
        base64=base64.b64encode(png).decode(),
        lines=base64.encodebytes(png).decode(),
        urlsafe=base64.urlsafe_b64encode(png).decode(),
    )
    with pytest.raises(ImageReadError, match=r"it is (base64|a data URL): give base64.b64decode") as refused:
        load_rgb(text.encode() if as_bytes else text)
    assert len(str(refused.value)) < 250
    assert len(name_of(text) or "") < 100


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("https://example.org/cat.jpg", "it is a URL, not a file: fetch it, and give its bytes"),
        ("cats/none.jpg", "cannot read cats/none.jpg: No such file or directory$"),
        ("iVBORw0KGgo", "No such file or directory$"),
        ("x" * 5000 + ".jpg", r"cannot read x{60}… \(5,004 characters\): File name too long$"),
        ("a\0b", "cannot read 'a\\\\x00b': embedded null byte"),
    ],
)
def test_names_that_lead_to_no_file(name: str, told: str) -> None:
    with pytest.raises(ImageReadError, match=told):
        load_rgb(name)


def test_bytes_of_real_formats_are_not_taken_for_text() -> None:
    """A plain PPM is text, and its metadata may hold addresses."""
    assert content_of(b"P3\n2 2\n255\n" + b"255 0 0 " * 99, MB)
    assert content_of(b"\xff\xd8\xff\xe1http://ns.adobe.com/xap/1.0/", MB)


@pytest.mark.parametrize(
    ("image", "told"),
    [
        (
            None,
            "cannot read an image from a NoneType: give a path, bytes, an open file, a Pillow image or a uint8 array",
        ),
        (["a.jpg"], "from a list: give one image, or several to classify_many"),
        (type("Tensor", (), {"__array__": lambda self: np.zeros(3)})(), r"from a Tensor: give np.asarray\(image\)"),
    ],
)
def test_what_is_no_image_at_all(image: object, told: str) -> None:
    with pytest.raises(ImageError, match=told):
        load_rgb(image)


def test_names_of_images(open_files: list, photos: Path) -> None:
    assert [name_of(file) for file in open_files] == [None, str(photos / "coffee.png"), None, "a.png"]
    assert name_of(Upload()) == "cat.jpg"
    assert name_of(b"abc") is None
    assert name_of(np.zeros(3)) is None
