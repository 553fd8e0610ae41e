import errno
from pathlib import Path
from types import SimpleNamespace

import pytest

from torchless import locks


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "folder").mkdir()
    return tmp_path / "folder"


def test_a_lock_keeps_others_away_until_it_is_closed(folder: Path) -> None:
    first, second = locks.open_folder(folder), locks.open_folder(folder)
    assert locks.take(first)
    with pytest.raises(BlockingIOError):
        locks.take(second, wait=False)
    locks.close(first)
    assert locks.take(second, wait=False)
    locks.close(second)


def test_shared_locks_exclude_only_others(folder: Path) -> None:
    handles = [locks.open_folder(folder) for _ in range(3)]
    assert all(locks.take(handle, shared=True, wait=False) for handle in handles[:2])
    with pytest.raises(BlockingIOError):
        locks.take(handles[2], wait=False)
    for handle in handles:
        locks.close(handle)


def test_a_link_is_no_folder_to_lock(folder: Path) -> None:
    (folder / "link").symlink_to(folder)
    with pytest.raises(NotADirectoryError):
        locks.open_folder(folder / "link")


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks(folder: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, "no locks")

    monkeypatch.setattr(locks, "_fcntl", SimpleNamespace(flock=refuse, LOCK_EX=2, LOCK_SH=1, LOCK_NB=4))
    with (folder / "file").open("wb") as file:
        assert not locks.take(file, wait=False)


def test_a_system_without_locks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "_fcntl", None)
    assert locks.open_folder(folder) is None
    locks.close(None)
    with (folder / "file").open("wb") as file:
        assert not locks.take(file)
