import os
import stat
import threading
from pathlib import Path

import pytest
from tests.surroundings import PATIENCE_S

from torchless.errors import ImageReadError, UsageError
from torchless.files import atomic_path, reading, writing


def write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text)


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), atomic_path(tmp_path / "x") as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("target")
    write(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "new"


def test_permissions_are_passed_on(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    (tmp_path / "x").chmod(0o664)
    write(tmp_path / "x", "new")
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o664


def test_a_pipe_is_written_to_and_stays(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "pipe").read_text()))
    reader.start()
    write(tmp_path / "pipe", "through")
    reader.join(PATIENCE_S)
    assert got == ["through"]
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_a_folder_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"cannot write {tmp_path}: it is a folder"), atomic_path(tmp_path):
        pytest.fail("the block began")


def test_why_not_is_said_once(tmp_path: Path) -> None:
    with (
        pytest.raises(UsageError, match=r"^cannot write .*none/x: No such file or directory$"),
        atomic_path(tmp_path / "none" / "x") as temporary,
    ):
        temporary.touch()
    with (
        pytest.raises(ImageReadError, match=r"^cannot read x: No such file or directory$"),
        reading("x", ImageReadError),
    ):
        (tmp_path / "none").read_bytes()
    with pytest.raises(UsageError, match="^cannot write x: for a reason of its own$"), writing("x"):
        raise OSError("for a reason of its own")
    with pytest.raises(ImageReadError, match="^as it was$"), writing("x"):  # which is an OSError too
        raise ImageReadError("as it was")


def test_two_writers_do_not_share_a_temporary_name(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "x") as one, atomic_path(tmp_path / "x") as other:
        assert one != other
        one.write_text("one")
        other.write_text("other")
    assert (tmp_path / "x").read_text() == "one"
