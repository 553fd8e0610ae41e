"""Files that appear whole or not at all."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path


@contextmanager
def atomic_path(path: str | PathLike[str]) -> Iterator[Path]:
    """A temporary name beside `path` to write to; it takes the place of `path` when the block ends, and is removed when the block fails.

    A link is followed, and a file that is replaced passes its permissions on. What is neither file nor link (a device, a pipe) is written to
    as it is. Raises OSError, for a folder before the block begins.
    """
    final = Path(os.path.realpath(path))
    if final.is_dir():
        raise IsADirectoryError(21, "it is a folder", str(path))
    if final.exists() and not final.is_file():
        yield final
        return
    temporary = final.with_name(f".{os.urandom(6).hex()}.part.{final.name}")
    try:
        yield temporary
        if final.exists():
            temporary.chmod(stat.S_IMODE(final.stat().st_mode))
        os.replace(temporary, final)
    finally:
        temporary.unlink(missing_ok=True)
