"""The images in ZIP and tar archives. ZIP files have an index; tar archives are streamed from front to back.

Each image has a name that can be given as an argument again: `zip://a.jpg::photos.zip`, `tar://a.jpg::shard.tar`.
"""

import io
import os
import re
import tarfile
import zlib
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import lru_cache
from glob import has_magic
from pathlib import Path
from typing import IO, cast
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from torchless.batch.limits import Limits
from torchless.batch.passed_over import PassedOver
from torchless.batch.unpacking import Unpacked
from torchless.engine.results import Input
from torchless.errors import ImageReadError, ImageTooLargeError, first_line
from torchless.files import open_regular
from torchless.image.content import check_bytes, read_limited
from torchless.image.formats import is_image_name
from torchless.records import dataclass

_TAR = re.compile(r"\.(tar|tar\.gz|tgz|tar\.bz2|tar\.xz)$", re.IGNORECASE)
_BOUNDED = ZIP_STORED, ZIP_DEFLATED  # methods of compression that zipfile unpacks piece by piece
_FIRST_READ, _MOST_AT_ONCE = 64 << 20, 256 << 20  # bytes; the latter is a directory of some millions of members
_OPEN_ARCHIVES = 4  # of a list that names their members one by one


def is_tar(argument: str) -> bool:
    """Whether it is a whole tar archive, by its name."""
    return _TAR.search(argument) is not None and "::" not in argument


def is_zip(argument: str) -> bool:
    """Whether it is a whole ZIP file, by its name."""
    return argument.lower().endswith(".zip") and "::" not in argument


def in_local_zip(argument: str) -> tuple[str, str] | None:
    """(member, file) of `zip://member::file` and of a plain `file.zip`, if the file is one of this machine's; `member`
    may be a folder, a pattern, or empty for everything.
    """
    if is_zip(argument) and ("://" not in argument or os.path.lexists(argument)):
        return "", argument
    member, chained, file = argument.removeprefix("zip://").partition("::")
    is_local = argument.startswith("zip://") and chained and "://" not in file and "::" not in file
    return (member.strip("/"), file) if is_local else None


def open_zip(path: str) -> ZipFile:
    """The ZIP file of that name; the last few stay open. Raises OSError or BadZipFile."""
    now = Path(path).stat()
    return _open_zip(path, now.st_mtime_ns, now.st_size, now.st_ino)


@lru_cache(maxsize=_OPEN_ARCHIVES)
def _open_zip(path: str, *_state: int) -> ZipFile:
    return _Zip(_Modest(cast(io.RawIOBase, open_regular(path))))


class _Zip(ZipFile):
    """Closes the file that it reads from."""

    def __init__(self, file: IO[bytes]) -> None:
        self._own = file
        super().__init__(file)

    def close(self) -> None:
        super().close()
        self._own.close()


class _Modest(io.BufferedReader):
    """A ZIP file may say that its directory has any size, and zipfile would read as much at once."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            size = os.fstat(self.fileno()).st_size - self.tell()
        if size > _MOST_AT_ONCE:
            raise BadZipFile("its directory is too large")
        return super().read(max(size, 0))


@dataclass(frozen=True)
class Member:
    """Reads a member of a ZIP file when called, from any thread. Raises ImageReadError, which contains `name`.

    `source` is what must stay open for it.
    """

    archive: ZipFile
    info: ZipInfo
    name: str
    max_bytes: int
    source: object = None
    travels = False  # another process does not have the open file

    @property
    def stamp(self) -> str:
        """What changes with its content."""
        return f"{self.info.file_size}-{self.info.CRC:08x}"

    def __call__(self) -> bytes:
        try:
            check_bytes(self.info.file_size, self.max_bytes)
            if self.info.compress_type not in _BOUNDED:
                raise BadZipFile("a member is compressed otherwise than by deflate, which cannot be bounded")
            with self.archive.open(self.info) as stream:
                return read_limited(stream.read, self.max_bytes, first=min(self.info.file_size, _FIRST_READ))
        except Exception as error:  # zipfile raises anything on hostile bytes, and so does what it reads from
            raise ImageReadError(f"cannot read {self.name}: {reason(error)}") from None


def zip_members(
    archive: ZipFile, wanted: str, file: str, passed_over: PassedOver, limits: Limits, source: object = None
) -> Iterator[Input]:
    """The images of an archive called `file`, by name: all, those in a folder, those that match a pattern, or the
    member `wanted` whatever its name. Two members of one name are two images. Raises FileNotFoundError.
    """

    def as_input(info: ZipInfo) -> Input:
        name = f"zip://{info.filename}::{file}"
        return Input(name, Member(archive, info, name, limits.max_bytes, source))

    if wanted in archive.NameToInfo:
        yield as_input(archive.getinfo(wanted))
        return
    members = sorted((info for info in archive.infolist() if not info.is_dir()), key=lambda info: info.filename)
    if has_magic(wanted):
        pattern = wanted.split("/")
        matching = (info for info in members if _matches(info.filename.split("/"), pattern))
        yield from (as_input(info) for info in matching if is_image_name(info.filename))
        return
    limits.check_expansion(sum(info.file_size for info in members), archive.start_dir)
    below = [info for info in members if not wanted or info.filename.startswith(f"{wanted}/")]
    if wanted and not below:
        raise FileNotFoundError(wanted)
    for info in below:
        yield from passed_over.image_or_other(info.filename, as_input(info))


def _matches(parts: list[str], pattern: list[str]) -> bool:
    """Whether a path matches; ** is any number of folders."""
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_matches(parts[start:], pattern[1:]) for start in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


def tar_members(file: IO[bytes], argument: str, passed_over: PassedOver, limits: Limits) -> Iterator[Input]:
    """The images of a tar archive, in their order there. One image at a time is in memory, for as long as the pipeline
    needs it. A link has an error: what it leads to may be elsewhere.

    Raises ImageTooLargeError where it unpacks to more than `limits` allow.
    """
    with Unpacked(file, limits) as stream, tarfile.open(fileobj=cast(IO[bytes], stream), mode="r|") as archive:
        while (member := stream.headers(archive)) is not None:
            name = f"tar://{member.name}::{argument}"
            if not member.isfile() and not member.isdir() and is_image_name(member.name):
                yield Input(name, None, "a link or a device in the archive, not a file")
            for item in passed_over.image_or_other(member.name, Input(name, None)) if member.isfile() else ():
                yield item if item.error is not None else _member_of_tar(archive, member, name, limits)
            archive.members.clear()  # type: ignore[attr-defined]  # it would remember every member


def _member_of_tar(archive: tarfile.TarFile, member: tarfile.TarInfo, name: str, limits: Limits) -> Input:
    content = archive.extractfile(member)
    try:
        check_bytes(member.size, limits.max_bytes)  # of a sparse one, what it has with its holes
        return Input(name, read_limited(content.read, limits.max_bytes) if content is not None else None)
    except ImageTooLargeError as error:
        return Input(name, None, str(error))


def open_local(path: str) -> IO[bytes]:
    """A file of this machine's. Raises OSError."""
    return open_regular(path)


def reason(error: Exception) -> str:
    """Why something could not be read, for the end of a message."""
    if isinstance(error, FileNotFoundError):
        return "No such file or directory"
    if isinstance(error, zlib.error | EOFError | tarfile.TarError | BadZipFile):
        return f"the archive is damaged ({first_line(error)})"
    return getattr(error, "strerror", None) or first_line(error)
