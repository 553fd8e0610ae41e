"""The bytes of an image file, from wherever the caller has them: a path, bytes, or an open file.

What has no end or is too large is refused before it is read, and text that holds an image gets its own message.
"""

import os
import re
from collections.abc import Callable
from inspect import iscoroutine
from os import PathLike, fsdecode
from threading import Lock
from typing import Protocol

from torchless.errors import ImageReadError, ImageTooLargeError
from torchless.files import open_regular
from torchless.forking import Locks

_CHUNK = 1 << 20
_LONGEST_NAME = 200
_BASE64 = re.compile(r"[A-Za-z0-9+/_\s-]{24,}=*\s*")
_BASE64_OF_IMAGES = "/9j/", "iVBORw0KGgo", "R0lGOD", "UklGR", "SUkqA", "TU0AK"  # JPEG, PNG, GIF, WEBP, TIFF
_TEXTS = tuple(text.encode() for text in ("data:", *_BASE64_OF_IMAGES))  # no image file begins like this
_SURELY_BASE64 = 256  # characters: hardly a name without a dot
# Two threads must not use the same open file or image at once. Pillow decodes an opened one when its pixels are first
# needed.
_CALLERS = Locks(64)


class Readable(Protocol):
    """A file that is open for reading bytes."""

    def read(self, size: int = -1, /) -> bytes: ...


def alone_with(image: object) -> Lock:
    """A lock: one thread at a time works with an image or open file of the caller's."""
    return _CALLERS.of(image)


def content_of(image: "str | PathLike[str] | bytes | bytearray | memoryview | Readable", max_bytes: int) -> bytes:
    """The bytes of an image file.

    A path leads to a regular file. An open file is read from its beginning, if it can go back, and stays open. Raises
    ImageReadError, and ImageTooLargeError above `max_bytes`.
    """
    if isinstance(image, str | PathLike):
        return _of_path(image, max_bytes)
    if isinstance(image, bytes | bytearray | memoryview):
        content = bytes(image)
        if content.startswith(_TEXTS):
            raise ImageReadError(f"the bytes are no image file: {_disguise(content[:_LONGEST_NAME].decode('latin-1'))}")
        return content
    if callable(getattr(image, "read", None)):
        with alone_with(image):
            return _of_open_file(image, max_bytes)
    fix = "a path, bytes, an open file, a Pillow image or a uint8 array"
    if hasattr(image, "__array__"):  # a tensor
        fix = "np.asarray(image)"
    elif isinstance(image, list | tuple):
        fix = "one image, or several to classify_many"
    raise ImageReadError(f"cannot read an image from a {type(image).__name__}: give {fix}")


def name_of(image: object) -> str | None:
    """The name of an image's file, if it has one; what no file name can be is shortened."""
    name = (
        image if isinstance(image, str | PathLike) else getattr(image, "filename", None) or getattr(image, "name", "")
    )
    return _short(fsdecode(name)) or None if isinstance(name, str | PathLike | bytes) else None


def read_limited(read: Callable[[int], bytes], max_bytes: int, *, first: int = _CHUNK) -> bytes:
    """All that `read`, which takes a number of bytes, gives until it gives none; `first` is how many are expected.

    Raises ImageTooLargeError above `max_bytes`, of which no more is read.
    """
    parts, size, wanted = [], 0, first + 1
    while part := read(min(wanted, max_bytes + 1 - size)):
        parts.append(part)
        size += len(part)
        check_bytes(size, max_bytes)
        wanted = _CHUNK
    return parts[0] if len(parts) == 1 else b"".join(parts)


def check_bytes(size: int, max_bytes: int) -> None:
    """Raises ImageTooLargeError for an image file of more than `max_bytes`."""
    if size > max_bytes:
        raise ImageTooLargeError(
            f"the image file has more than {max_bytes / 1e6:g} MB; raise it with --max-image-mb (max_bytes in "
            "Python) if you trust it"
        )


def _of_path(path: str | PathLike[str], max_bytes: int) -> bytes:
    name = fsdecode(path)
    try:
        with open_regular(name) as stream:
            size = os.fstat(stream.fileno()).st_size
            check_bytes(size, max_bytes)
            return read_limited(stream.read, max_bytes, first=size)
    except ImageTooLargeError as error:
        raise ImageTooLargeError(f"{_short(name)}: {error}") from None
    except MemoryError:
        raise ImageTooLargeError(f"there is not enough memory to read {_short(name)}") from None
    except OSError as error:
        told = _disguise(name) or error.strerror or error
        raise ImageReadError(f"cannot read {_short(name)}: {told}") from None
    except ValueError as error:  # a NUL in the name
        raise ImageReadError(f"cannot read {_short(name)!r}: {_disguise(name) or error}") from None


def _of_open_file(file: Readable, max_bytes: int) -> bytes:
    name = name_of(file) or f"the {type(file).__name__}"
    try:
        if (seekable := getattr(file, "seekable", None)) is not None and seekable():
            file.seek(0)  # type: ignore[attr-defined]
        return read_limited(lambda size: _bytes(file.read(size), file), max_bytes)
    except (ImageReadError, ImageTooLargeError):
        raise
    except (OSError, ValueError) as error:  # ValueError where it is closed
        raise ImageReadError(f"cannot read {name}: {getattr(error, 'strerror', None) or error}") from None


def _bytes(part: object, file: object) -> bytes:
    if isinstance(part, bytes | bytearray | memoryview):
        return bytes(part)
    kind = type(file).__name__
    if iscoroutine(part):
        part.close()
        raise ImageReadError(f"a {kind} is read with await: give `await file.read()`")
    if isinstance(part, str):
        raise ImageReadError(f"the {kind} gives text: open the file with mode 'rb'")
    raise ImageReadError(f"the {kind} gives no bytes, but {type(part).__name__}")


def _disguise(text: str) -> str | None:
    """What a text is that holds or names an image otherwise than as the name of a file; None for other texts."""
    if text[:5].lower() == "data:":
        return "it is a data URL: give base64.b64decode(url.partition(',')[2])"
    if _BASE64.fullmatch(text) and (text.startswith(_BASE64_OF_IMAGES) or len(text) >= _SURELY_BASE64):
        return "it is base64: give base64.b64decode(text)"
    if "://" in text[:_LONGEST_NAME]:
        return "it is a URL, not a file: fetch it, and give its bytes (the command infer fetches URLs)"
    return None


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[:60]}… ({len(name):,} characters)"
