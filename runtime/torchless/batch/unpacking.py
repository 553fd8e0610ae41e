"""A tar archive as a stream of its unpacked bytes, of which no more come than limits allow."""

import bz2
import gzip
import io
import lzma
import tarfile
from collections.abc import Callable
from typing import IO, cast

from torchless.batch.limits import Limits
from torchless.errors import ImageTooLargeError

# By their first bytes. tarfile's own streams unpack each 10 kB at once, which bzip2 can make 10 GB of.
_PACKED: dict[bytes, Callable[[IO[bytes]], object]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
    b"\x5d\x00\x00\x80": lzma.LZMAFile,
}
_MOST_OF_HEADERS = 4 << 20  # bytes between two members: long names, attributes


class _Counted(io.RawIOBase):
    """What is read of a file, counted."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.count = file, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview[int]", /) -> int:  # type: ignore[override]
        content = self._file.read(len(buffer))
        buffer[: len(content)] = content
        self.count += len(content)
        return len(content)


class Unpacked:
    """A file for tarfile to read from front to back, whether or not it is compressed. A context manager.

    Reading raises ImageTooLargeError beyond what `limits` say of archives.
    """

    def __init__(self, file: IO[bytes], limits: Limits) -> None:
        self._packed, self._limits, self._count = _Counted(file), limits, 0
        self._may_reach: int | None = _MOST_OF_HEADERS
        packed = io.BufferedReader(self._packed)
        start = packed.peek(6)
        kind = next((kind for magic, kind in _PACKED.items() if start.startswith(magic)), None)
        self._stream = cast(IO[bytes], packed if kind is None else kind(cast(IO[bytes], packed)))

    def __enter__(self) -> "Unpacked":
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def read(self, size: int) -> bytes:
        content = self._stream.read(size)
        self._count += len(content)
        self._limits.check_expansion(self._count, self._packed.count)
        if self._may_reach is not None and self._count > self._may_reach:
            raise ImageTooLargeError(f"the headers of one member have more than {_MOST_OF_HEADERS >> 20} MiB")
        return content

    def headers(self, archive: tarfile.TarFile) -> tarfile.TarInfo | None:
        """The next member of the archive that reads from here; tarfile reads all its headers into memory."""
        self._may_reach = archive.offset + _MOST_OF_HEADERS  # where they begin
        try:
            return archive.next()
        finally:
            self._may_reach = None
