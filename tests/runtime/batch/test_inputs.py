import io
import os
import sys
from pathlib import Path

import pytest

from torchless.batch.inputs import expand
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
    assert found[0].error == "nothing matches *.gif"
    assert found[1].error.startswith(
        "no image in folder empty (its subfolders were not looked into); images end in .apng"
    )


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"image bytes")))
    (item,) = expand(["-"])
    assert (item.name, item.image) == ("-", b"image bytes")


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
