import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from torchless.batch.inputs import count, expand
from torchless.batch.passed_over import PassedOver
from torchless.engine.results import Input
from torchless.image.formats import is_image_name


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("b.JPG", "a.png", "notes.txt", ".hidden.jpg", "sub/c.webp", "sub/deeper/d.tiff", "x[1].jpg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "loop").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*arguments: str, recursive: bool = False) -> list[str]:
    found = list(expand(arguments, recursive=recursive))
    assert all(item.error is None and item.image == item.name for item in found)
    return [item.name for item in found]


def test_folders(folder: Path) -> None:
    assert names(".") == ["./a.png", "./b.JPG", "./x[1].jpg"]
    assert names(".", recursive=True) == ["./a.png", "./b.JPG", "./x[1].jpg", "./sub/c.webp", "./sub/deeper/d.tiff"]


def test_files_keep_their_order_and_any_ending(folder: Path) -> None:
    assert names("notes.txt", "b.JPG", "a.png", "missing.jpg") == ["notes.txt", "b.JPG", "a.png", "missing.jpg"]


def test_globs(folder: Path) -> None:
    assert names("*.png") == ["a.png"]
    assert names("**/*.webp") == ["sub/c.webp"]
    assert names("x[1].jpg") == ["x[1].jpg"]  # a file of that very name
    assert names("s*", recursive=True) == ["sub/c.webp", "sub/deeper/d.tiff"]


def test_arguments_that_lead_nowhere(folder: Path) -> None:
    (folder / "empty").mkdir()
    found = list(expand(["*.gif", "empty"]))
    assert [(item.name, item.image) for item in found] == [("*.gif", None), ("empty", None)]
    assert [item.error for item in found] == ["nothing matches *.gif", "no image in folder empty: it is empty"]


def test_what_else_is_in_folders_is_counted(folder: Path) -> None:
    for name in ("more.TXT", "x.xml", "LICENSE", "._a.png", ".DS_Store", "sub/deeper/y.xml"):
        (folder / name).touch()
    passed_over = PassedOver()
    assert len(list(expand([".", "s*"], passed_over=passed_over))) == 3
    assert passed_over.lines() == [
        "4 files are no images: .txt 2, without an ending 1, .xml 1",
        "3 subfolders were not looked into (`recursive` does)",
        "1 hidden image was left out",
    ]
    passed_over = PassedOver()
    assert len(list(expand(["."], recursive=True, passed_over=passed_over))) == 5
    assert passed_over.lines() == [
        "5 files are no images: .txt 2, .xml 2, without an ending 1",
        "1 link to a folder was not followed",
        "1 hidden image was left out",
    ]


def test_every_image_that_pillow_knows_has_a_row(tmp_path: Path) -> None:
    """Read or not. Of its other files some are documents, films and data."""
    Image.init()
    endings = {ending for ending, format in Image.registered_extensions().items() if format in Image.OPEN}
    for ending in endings:
        (tmp_path / f"a{ending}").touch()
    passed_over = PassedOver()
    found = {Path(item.name).suffix for item in expand([str(tmp_path)], passed_over=passed_over)}
    no_images = {".bufr", ".grib", ".h5", ".hdf", ".iim", ".mpeg", ".mpg", ".ps"}
    assert endings - found == set(passed_over.endings) == no_images & endings


def test_strict_makes_everything_else_an_error(folder: Path) -> None:
    (folder / "LICENSE").touch()
    passed_over = PassedOver(strict=True)
    found = list(expand(["."], recursive=True, passed_over=passed_over))
    assert {item.name: item.error for item in found if item.error} == {
        "./notes.txt": "not an image: its name ends in .txt",
        "./.hidden.jpg": "a hidden file; name it itself to have it classified",
        "./LICENSE": "not an image by its name",
        "./loop": "a link to a folder, which is not followed",
    }
    assert (count(["."], recursive=True, strict=True), passed_over.lines()) == (9, [])


def test_a_folder_with_nothing_but_other_files_says_what_they_are(tmp_path: Path) -> None:
    for name in ("1.txt", "2.txt", "3.xml"):
        (tmp_path / name).touch()
    (tmp_path / "sub").mkdir()
    passed_over = PassedOver()
    (item,) = expand([str(tmp_path)], passed_over=passed_over)
    assert item.error == (
        f"no image in folder {tmp_path}: 3 files are no images: .txt 2, .xml 1; "
        "1 subfolder was not looked into (--recursive does)"
    )
    assert passed_over.lines() == []  # the row has said it


@given(st.lists(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1), max_size=30))
def test_every_name_is_an_image_or_counted_or_hidden(names: list[str]) -> None:
    passed_over = PassedOver()
    images = [item for name in names for item in passed_over.image_or_other(name, Input(name, name))]
    hidden = sum(name.startswith(".") for name in names)
    assert len(images) + passed_over.endings.total() + hidden == len(names)
    lines = passed_over.lines()
    assert all(line.isprintable() and len(line) < 200 for line in lines)


@pytest.mark.parametrize(("keyboard", "told"), [(False, ""), (True, "reading an image from standard input\n")])
def test_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], keyboard: bool, told: str
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"image bytes")))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: keyboard)
    (item,) = expand(["-"])
    assert (item.name, item.image) == ("-", b"image bytes")
    assert capsys.readouterr().err == told


def test_nothing_is_read_ahead(folder: Path) -> None:
    stream = expand(["a.png", "."])
    assert next(stream).name == "a.png"
    (folder / "b.JPG").unlink()
    assert [item.name for item in stream] == ["./a.png", "./x[1].jpg"]


def test_a_folder_that_cannot_be_listed_does_not_stop_the_others(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.scandir

    def refuse(path: str):
        if str(path).endswith("sub"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    (folder / "z").mkdir()
    (folder / "z" / "last.jpg").touch()
    monkeypatch.setattr(os, "scandir", refuse)
    found = list(expand(["."], recursive=True))
    assert [item.name for item in found] == ["./a.png", "./b.JPG", "./x[1].jpg", "./sub", "./z/last.jpg"]
    assert [item.error for item in found if item.error] == ["cannot read folder ./sub: Permission denied"]


def test_a_link_to_itself_is_a_row_with_an_error(folder: Path) -> None:
    (folder / "m.jpg").symlink_to("m.jpg")
    assert names(".") == ["./a.png", "./b.JPG", "./m.jpg", "./x[1].jpg"]


def test_closed_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    (item,) = expand(["-"])
    assert (item.image, item.error) == (None, "standard input is closed")


def test_image_names() -> None:
    assert is_image_name("A.JPEG")
    assert not is_image_name("jpeg")


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """1,500 folders in each other, and an image in the last one."""
    here, folder = Path.cwd(), tmp_path / "deep"
    folder.mkdir()
    os.chdir(folder)
    for _ in range(1500):
        Path("d").mkdir()
        os.chdir("d")
    Path("a.png").touch()
    os.chdir(here)
    yield folder
    subprocess.run(["rm", "-r", folder], check=True)  # which Python 3.11's rmtree cannot


def test_folders_in_folders_without_end(deep: Path) -> None:
    (found,) = expand([str(deep)], recursive=True)
    assert found.name is not None
    assert found.name.endswith("d/a.png")
    (refused,) = expand([f"{deep}/**"])
    assert "leads through too many folders" in (refused.error or "")
