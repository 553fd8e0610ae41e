"""Where the processes of a cluster put a model's files for ONNX Runtime to read: folders that do not outlive them for
long.

Ray ends processes with SIGKILL, which leaves them no time to clean up. So each holds a lock on its folder, and whoever
makes the next folder on that machine removes those that nobody holds any more.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ModelFiles = Mapping[str, NDArray[np.uint8]]
_PREFIX = "torchless-ray-"


class ModelFolder:
    """A new folder, at `path`; it is there until `remove`, or until the process has ended."""

    path: Path
    _lock: int

    def __init__(self) -> None:
        remove_abandoned()
        while not self._make():
            pass

    def write(self, files: ModelFiles, folder: str = ".") -> Path:
        """Writes files, by their names, into the folder or one in it, which it gives."""
        home = self.path / folder
        home.mkdir(exist_ok=True)
        for name, content in files.items():
            content.tofile(home / name)
        return home

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> "ModelFolder":
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def _make(self) -> bool:
        """False where another process took the folder for an abandoned one before it was locked."""
        self.path, self._lock = Path(tempfile.mkdtemp(prefix=_PREFIX)), -1
        with suppress(FileNotFoundError):
            self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            if self.path.exists():
                return True
            os.close(self._lock)
        return False


def remove_abandoned() -> None:
    """Removes the folders of processes that have ended."""
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):  # another user's, or it is gone
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # BlockingIOError where its process lives
                shutil.rmtree(path)
            finally:
                os.close(lock)
