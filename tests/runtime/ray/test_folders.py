"""The folders of a model's files: whoever is killed leaves one, and the next removes it; without a cluster."""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from torchless.ray.folders import ModelFolder, remove_abandoned

CODE = """
import sys
from torchless.ray.folders import ModelFolder
folder = ModelFolder()
print(folder.path, flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _own_temp_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def test_files_are_there_until_the_block_ends(tmp_path: Path) -> None:
    with ModelFolder() as folder:
        home = folder.write({"a": np.frombuffer(b"abc", np.uint8)}, "model")
        assert (home / "a").read_bytes() == b"abc"
        assert list(tmp_path.iterdir()) == [folder.path]
    assert list(tmp_path.iterdir()) == []


def test_the_next_removes_that_of_a_process_that_was_killed_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "torchless-ray-file").touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "torchless-ray-link").symlink_to(tmp_path / "elsewhere")
    foreign = set(tmp_path.iterdir())
    living, killed = (
        subprocess.Popen([sys.executable, "-c", CODE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    )
    with living, killed:
        paths = [Path(process.stdout.readline().strip()) for process in (living, killed)]
        assert set(tmp_path.iterdir()) == {*paths, *foreign}
        killed.kill()
        killed.wait()
        with ModelFolder() as own:
            assert set(tmp_path.iterdir()) == {paths[0], own.path, *foreign}
    assert set(tmp_path.iterdir()) == {paths[0], *foreign}
    remove_abandoned()
    assert set(tmp_path.iterdir()) == foreign
