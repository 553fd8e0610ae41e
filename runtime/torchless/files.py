"""Files that appear in full or not at all, files that end, and the message if one cannot be written or read."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import BinaryIO

from torchless.errors import TorchlessError, UsageError
from torchless.records import dataclass


class _Explained:
    """A context manager. An OSError in its block becomes a `kind` that says `what: the reason`; torchless's own errors
    stay as they are.
    """

    def __init__(self, what: str, kind: type[TorchlessError]) -> None:
        self._what, self._kind = what, kind

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, *__: object) -> None:
        if isinstance(error, OSError) and not isinstance(error, TorchlessError):
            raise self._kind(f"{self._what}: {error.strerror or error}") from error


def writing(path: object) -> _Explained:
    """A context manager in which OSError becomes UsageError: `cannot write PATH: the reason`."""
    return _Explained(f"cannot write {path}", UsageError)


def reading(path: object, kind: type[TorchlessError] = UsageError) -> _Explained:
    """A context manager in which OSError becomes a `kind`: `cannot read PATH: the reason`."""
    return _Explained(f"cannot read {path}", kind)


@contextmanager
def atomic_path(path: str | PathLike[str]) -> Iterator[Path]:
    """A temporary name beside `path` to write to. It replaces `path` when the block ends, and is removed if the block
    fails.

    A link is followed, and a replaced file passes on its permissions. What is neither file nor link (a device, a pipe)
    is written directly. Raises UsageError, which says why it cannot be written; for a folder, before the block begins.
    """
    with writing(os.fspath(path)):
        final = Path(os.path.realpath(path))
        if final.is_dir():
            raise IsADirectoryError(21, "it is a folder")
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


@dataclass(frozen=True)
class Snapshot:
    """How files looked at one moment, by their absolute paths: enough to see that one was replaced since."""

    looks: tuple[tuple[Path, tuple[int, ...] | None], ...]

    @classmethod
    def of(cls, *paths: Path) -> "Snapshot":
        """A file that is not there has a look too."""
        return cls(tuple((path.absolute(), _look(path)) for path in paths))

    @property
    def paths(self) -> tuple[Path, ...]:
        return tuple(path for path, _ in self.looks)

    @property
    def is_current(self) -> bool:
        """Whether all of them still look the same."""
        return all(_look(path) == look for path, look in self.looks)


def bytes_in(folder: Path) -> int:
    """Of all files in it, in its subfolders too."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _look(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


# What a shell calls the pipes that it hands over, as in `infer MODEL <(program)`.
_HANDED_OVER = "/dev/stdin", "/dev/fd/"
_KINDS = {stat.S_IFIFO: "a pipe", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device", stat.S_IFSOCK: "a socket"}


def open_regular(path: str | PathLike[str]) -> BinaryIO:
    """A regular file, unbuffered, to read; links are followed, and so is a pipe that the shell handed over.

    Raises OSError for anything else: a pipe or a device may never end, and opening one may wait for ever.
    """
    handed_over = os.fspath(path).startswith(_HANDED_OVER)
    check_regular(path, Path(path).stat(), handed_over)

    def without_waiting(name: str, flags: int) -> int:
        return os.open(name, flags | (0 if handed_over else getattr(os, "O_NONBLOCK", 0)))

    stream = open(path, "rb", buffering=0, opener=without_waiting)  # noqa: SIM115 - Path.open takes no opener
    try:
        check_regular(path, os.fstat(stream.fileno()), handed_over)  # it may be another file by now
    except OSError:
        stream.close()
        raise
    return stream


def check_regular(path: str | PathLike[str], found: os.stat_result, pipe: bool = False) -> None:
    """Raises OSError for what is not a regular file: `pipe` says that a pipe will do."""
    kind = stat.S_IFMT(found.st_mode)
    if kind == stat.S_IFDIR:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if kind != stat.S_IFREG and not (pipe and kind in (stat.S_IFIFO, stat.S_IFSOCK)):
        raise OSError(errno.EINVAL, f"it is {_KINDS.get(kind, 'something else')}, not a file", os.fspath(path))
