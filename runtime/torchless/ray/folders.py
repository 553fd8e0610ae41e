"""Where the processes of a cluster put a model's files for ONNX Runtime to read: folders that do not outlive them for
long.

Ray ends processes with SIGKILL, which leaves them no time to clean up. So each holds a lock on its folder, and whoever
makes the next folder on that machine removes those that nobody holds any more.
"""

import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from torchless.locks import close, open_folder, take

ModelFiles = Mapping[str, NDArray[np.uint8]]
_PREFIX = "torchless-ray-"


class ModelFolder:
    """A new folder, at `path`; it is there until `remove`, or until the process has ended."""

    path: Path
    _lock: int | None

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
        close(self._lock)
        self._lock = None

    def __enter__(self) -> "ModelFolder":
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def _make(self) -> bool:
        """False where another process took the folder for an abandoned one before it was locked."""
        self.path, self._lock = Path(tempfile.mkdtemp(prefix=_PREFIX)), None
        with suppress(FileNotFoundError):
            self._lock = open_folder(self.path)
            if self._lock is not None:
                take(self._lock)
            if self.path.exists():
                return True
            close(self._lock)
        return False


def remove_abandoned() -> None:
    """Removes the folders of processes that have ended, where locks show which have."""
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):  # another user's, or it is gone
            lock = open_folder(path)
            try:
                if lock is not None and take(lock, wait=False):  # BlockingIOError where its process lives
                    shutil.rmtree(path)
            finally:
                close(lock)
