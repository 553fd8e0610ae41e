"""Files that appear whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path


@contextmanager
def atomic_path(path: str | PathLike[str]) -> Iterator[Path]:
    """A temporary name beside `path` to write to; it takes the place of `path` when the block ends, and is removed when the block fails.

    Its name ends as that of `path` does, and holds the process's number, so that two writers do not share it.
    """
    final = Path(path)
    temporary = final.with_name(f".{os.getpid()}.part.{final.name}")
    try:
        yield temporary
        os.replace(temporary, final)
    finally:
        temporary.unlink(missing_ok=True)
